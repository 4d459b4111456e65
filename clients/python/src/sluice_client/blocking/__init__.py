"""The client for code that waits."""
# Made from aio/__init__.py by make_blocking.py: change that one.
