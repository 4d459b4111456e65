"""Pure functions and values: money, facts, the state machine, schedules, signatures. Standard library only."""
