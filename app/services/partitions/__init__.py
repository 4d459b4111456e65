"""Partitions by the month: made ahead, listed with what keeps each, and dropped as a whole when nothing needs them."""
