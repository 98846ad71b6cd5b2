"""The training engine under SFT and GRPO: ZeRO, schedules, log-probabilities, checkpoints, resume."""
