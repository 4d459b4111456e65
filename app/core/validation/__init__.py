"""Checks of single values that come from outside. Standard library only."""
