"""English for the rewards and the answer check: word lists, number words, key words."""
