"""Split: easy, medium and hard questions by the share of correct answers."""
