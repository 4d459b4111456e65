"""Per-process infrastructure: settings, database, Redis, doorbells, logs, metrics, encryption keys."""
