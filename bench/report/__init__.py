"""RESULTS.md and its plots, written from the figures of a run."""
