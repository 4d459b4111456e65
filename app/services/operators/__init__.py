"""Reads and decisions of operators: dead letters, redrive, reconciliation."""
