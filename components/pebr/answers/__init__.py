"""The answer check: whether a given answer is the reference answer."""
