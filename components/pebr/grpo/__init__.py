"""One stage of GRPO: reinforcement learning with group-relative advantages, for perception or reasoning."""
