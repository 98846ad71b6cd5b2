"""What an answer is worth: answer check, CLIP, keywords, format, length, and the two stages' sums."""
