"""The training engine of SFT and GRPO: ZeRO, schedules, log-probabilities, checkpoints, resuming."""
