"""Rollout: n sampled answers for each question of the RL set, scored for accuracy."""
