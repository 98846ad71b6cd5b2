"""The settings of the filter step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.step.settings import Bounds, Input, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Read a dataset in its published format, reject unusable rows with the reason, write Parquet files."""

    source: Annotated[str, Input(), "Directory with the JSON file of the kind and its images."]
    output: Annotated[str, Output("Dataset"), "Parquet dataset to write; rejected rows are in its rejected/ folder."]
    kind: Annotated[
        Literal["sft", "rl"],
        "sft reads mulberry_sft.json, rl reads pebr_grpo_dataset.json; another name is read if it is the only file.",
    ] = "sft"
    image_root: Annotated[
        str, "Folder that image paths are relative to, itself relative to the source; empty for the source itself."
    ] = ""
    min_side: Annotated[
        int, Bounds(1, 8192), "Rows with an image narrower or lower than this many pixels are rejected."
    ] = 28
    rows_per_shard: Annotated[int, Bounds(1), "Rows per Parquet file."] = 512
