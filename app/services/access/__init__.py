"""Who is calling: credentials of callers and of webhook senders."""
