"""Money that goes back and comes again: totals, single movements with ids, and disputes."""
