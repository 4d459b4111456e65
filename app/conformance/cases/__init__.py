"""The cases, each a function with a sentence."""
