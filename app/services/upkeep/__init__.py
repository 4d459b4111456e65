"""Recurring duties: the sweep, the backlog's numbers, delivery of alarms."""
