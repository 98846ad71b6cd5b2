"""The settings of the split step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Split questions by how many of their answers were right: all (easy), some (medium), none (hard).

    Args:
        rollouts: Parquet dataset of questions with their scored answers.
        easy: dataset of easy questions to write.
        medium: dataset of medium questions to write.
        hard: dataset of hard questions to write; incomplete questions are in its rejected/ folder.
        easy_at_least: a question is easy when at least this share of its answers is right.
        hard_at_most: a question is hard when at most this share of its answers is right.
        metrics: file for the scalar metrics.
        executor_input: Kubeflow's description of the task, {{$}}; empty elsewhere.
    """

    rollouts: str
    easy: str
    medium: str
    hard: str
    easy_at_least: float = 1.0
    hard_at_most: float = 0.0
    metrics: str = ""
    executor_input: str = ""
