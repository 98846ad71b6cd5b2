"""The settings of the ingest step."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.step.settings import SEED, Bounds, Output, StepSettings


@dataclass(frozen=True, kw_only=True)
class Settings(StepSettings):
    """Bring one dataset, one set of benchmarks or one model into the pipeline."""

    source: Annotated[
        str,
        "toy:// with sft, pebr, rl, parquet, benchmarks, model or clip (made on the spot), a path,"
        " s3://bucket/prefix, or hf://[datasets/]organisation/name[@revision]. Several datasets are separated by"
        " commas; NAME*0.5 uses a share of the rows, NAME:20000 the first rows.",
    ]
    output: Annotated[
        str, Output(), "Directory to write: the source's files. Loose images of a dataset are packed into tar archives."
    ]
    kind: Annotated[
        Literal["", "benchmarks", "model", "clip"],
        "What the source must be, checked before use: benchmarks (TSV files with all columns), model or clip (a"
        " configuration and safetensors files); empty for no check.",
    ] = ""
    rows: Annotated[int, Bounds(0), "Rows of a toy:// dataset; 0 for its usual number."] = 0
    seed: Annotated[int, SEED, "Seed of a toy:// source; the same seed gives the same bytes."] = 0
