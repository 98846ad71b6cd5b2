"""The settings of the filter step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.data.column_names import columns_of
from pebr.step.settings import Bounds, Input, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Read a dataset in its published format, reject unusable rows with the reason, write Parquet files."""

    source: Annotated[
        str,
        Input(),
        "The data: a folder, a table (JSON, JSON Lines, Parquet) or an archive. Images are loose files, members of tar"
        " or zip archives, or inside the rows.",
    ]
    output: Annotated[str, Output("Dataset"), "Parquet dataset to write; rejected rows are in its rejected/ folder."]
    kind: Annotated[
        Literal["sft", "rl"],
        "sft reads conversations, rl reads questions with answers, from all files that hold such rows.",
    ] = "sft"
    files: Annotated[
        str, "Pattern of the files with rows, relative to the source, such as train*.parquet; empty to recognise them."
    ] = ""
    columns: Annotated[
        str,
        "Columns whose names are not recognised, such as question=ask,images=left|right. Known are messages, question,"
        " answer, images, options, qid and key_words.",
    ] = ""
    duplicates: Annotated[
        Literal["keep", "reject"],
        "What to do with a row whose question and images are those of a row of another source.",
    ] = "keep"
    image_root: Annotated[
        str, "Folder that image paths are relative to, itself relative to the source; empty for the source itself."
    ] = ""
    min_side: Annotated[
        int, Bounds(1, 8192), "Rows with an image narrower or lower than this many pixels are rejected."
    ] = 28
    rows_per_shard: Annotated[int, Bounds(1), "Rows per Parquet file."] = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        columns_of(self.columns)
