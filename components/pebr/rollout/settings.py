"""The settings of the rollout."""

from dataclasses import dataclass
from typing import Annotated

from pebr.sampling.settings import WorkerSettings
from pebr.step.settings import Bounds, Input, Output, ResumableSettings
from pebr.vlm.settings import ReadingSettings


@dataclass(frozen=True, kw_only=True)
class Settings(WorkerSettings, ReadingSettings, ResumableSettings):
    """Sample answers to every question of the RL set and score each for accuracy."""

    model: Annotated[str, Input("Model"), "Hugging Face directory of the model to sample from."]
    dataset: Annotated[str, Input("Dataset"), "Filtered RL rows, a directory written by `filter --kind rl`."]
    output: Annotated[
        str, Output("Dataset"), "Dataset to write: every question with its answers; rejected questions in rejected/."
    ]
    top_p: float = 0.99
    rows_per_shard: Annotated[int, Bounds(1), "Rows per Parquet file. A killed rollout loses at most one file."] = 512
