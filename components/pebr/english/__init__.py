"""English as the rewards and the answer check need it: word lists, number words, key words."""
