"""The emulated providers: calls and events of each, and its objects."""
