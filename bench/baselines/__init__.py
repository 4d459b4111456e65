"""Baselines that Sluice is compared with: empty Celery tasks, and one transaction for each credit by pgbench."""
