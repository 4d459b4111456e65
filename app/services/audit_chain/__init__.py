"""Seals over audit rows and the heads of their chains."""
