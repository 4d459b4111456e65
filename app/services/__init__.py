"""Effects: the only transactions. One noun a file."""
