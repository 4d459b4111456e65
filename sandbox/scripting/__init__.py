"""Scripts: which payments shall misbehave, and how."""
