"""The pure heart: money, facts, the state machine, schedules, signatures. Standard library only."""
