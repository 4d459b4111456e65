"""Tables, declared once: statements and migrations are made from them."""
