"""The answer check: does a given answer equal the reference answer?"""
