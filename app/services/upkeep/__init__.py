"""Recurring duties: the sweep, metrics of the backlog, delivery of alarms."""
