"""Merge: one Hugging Face model from the sharded weights of a GRPO stage."""
