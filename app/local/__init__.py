"""Start a stack on one machine: `sluice up` and what it supervises."""
