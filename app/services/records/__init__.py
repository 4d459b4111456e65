"""Rows that are written inside other services' transactions: audit, alarms, notifications, dead letters."""
