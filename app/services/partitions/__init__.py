"""Partitions by month: made ahead, listed with the reasons to keep them, and dropped when nothing needs them."""
