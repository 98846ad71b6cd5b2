"""Rollout: sample several answers per question of the RL set and score them for accuracy."""
