"""Commands that start, check, measure and maintain an installation."""
