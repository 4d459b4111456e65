"""How a provider speaks: one file for each protocol, of tables and differences; state and misbehaviour are shared."""
