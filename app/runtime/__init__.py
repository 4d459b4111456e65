"""What a process holds for its life: settings, database, Redis, logs, metrics, encryption keys."""
