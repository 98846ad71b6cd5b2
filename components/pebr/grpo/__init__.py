"""GRPO: one stage of reinforcement learning with group-relative advantages; perception or reasoning by its rewards."""
