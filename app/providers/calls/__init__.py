"""Calls to providers over HTTP: guarded connections, and what adapters of HTTP APIs share."""
