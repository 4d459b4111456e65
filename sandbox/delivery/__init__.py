"""Background threads: they deliver due webhooks and run due steps of scripts."""
