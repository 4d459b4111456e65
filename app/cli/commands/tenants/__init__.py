"""Commands that configure tenants, their providers and their secret keys."""
