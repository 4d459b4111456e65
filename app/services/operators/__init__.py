"""What operators read and decide: dead letters, redrive, reconciliation."""
