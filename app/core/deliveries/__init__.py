"""Deliveries to tenants' webhook endpoints: types, states, waits."""
