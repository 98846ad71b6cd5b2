"""The settings of the split step."""

from dataclasses import dataclass
from typing import Annotated

from pebr.errors import InputError
from pebr.step.settings import SHARE, Input, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Split questions by how many of their answers are correct: all (easy), some (medium), none (hard)."""

    rollouts: Annotated[str, Input("Dataset"), "Parquet dataset of questions with their scored answers."]
    easy: Annotated[str, Output("Dataset"), "Dataset of easy questions to write."]
    medium: Annotated[str, Output("Dataset"), "Dataset of medium questions to write."]
    hard: Annotated[
        str, Output("Dataset"), "Dataset of hard questions to write; incomplete questions are in its rejected/ folder."
    ]
    easy_at_least: Annotated[float, SHARE, "A question is easy if at least this share of its answers is correct."] = 1.0
    hard_at_most: Annotated[float, SHARE, "A question is hard if at most this share of its answers is correct."] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard_at_most >= self.easy_at_least:
            raise InputError(
                f"--hard-at-most {self.hard_at_most} and --easy-at-least {self.easy_at_least}: give shares from 0 to 1,"
                " the first below the second"
            )
