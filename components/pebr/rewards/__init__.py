"""Rewards of answers: accuracy, CLIP, keywords, format, length, custom functions, and the sum of each stage."""
