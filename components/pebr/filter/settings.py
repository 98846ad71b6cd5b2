"""The settings of the filter step."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """Read a dataset in its public format, set unusable rows aside with the reason, write Parquet shards.

    Args:
        source: directory with the JSON file of the kind and its images.
        output: Parquet dataset to write; rows set aside are in its rejected/ folder.
        kind: sft reads mulberry_sft.json, rl reads pebr_grpo_dataset.json; another name is read if it is the only one.
        image_root: folder that the image paths are relative to, within the source; empty for the source itself.
        min_side: images narrower or lower than this many pixels are refused: less than one vision token.
        rows_per_shard: rows of one Parquet file.
        metrics: file for the scalar metrics.
        executor_input: Kubeflow's description of the task, {{$}}; empty elsewhere.
    """

    source: str
    output: str
    kind: Literal["sft", "rl"] = "sft"
    image_root: str = ""
    min_side: int = 28
    rows_per_shard: int = 512
    metrics: str = ""
    executor_input: str = ""
