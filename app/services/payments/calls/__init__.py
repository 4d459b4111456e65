"""Calls to providers: claimed, made, settled, retried, given up; and the circuit breaker."""
