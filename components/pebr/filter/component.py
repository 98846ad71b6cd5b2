"""The filter step as a Kubeflow component."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def filter(  # noqa: A001 - the step is named for what it does
    source: dsl.Input[dsl.Artifact],
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    kind: str = "sft",
    image_root: str = "",
    min_side: int = 28,
    rows_per_shard: int = 512,
) -> dsl.ContainerSpec:
    """Read a dataset in its public format, set unusable rows aside with the reason, write Parquet shards.

    Args:
        source: directory with the JSON file of the kind and its images.
        output: Parquet dataset to write; rows set aside are in its rejected/ folder.
        kind: sft reads mulberry_sft.json, rl reads pebr_grpo_dataset.json; another name is read if it is the only one.
        image_root: folder that the image paths are relative to, within the source; empty for the source itself.
        min_side: images narrower or lower than this many pixels are refused: less than one vision token.
        rows_per_shard: rows of one Parquet file.
        metrics: file for the scalar metrics.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.filter"],
        args=[
            *("--source", source.path),
            *("--output", output.path),
            *("--kind", kind),
            *("--image-root", image_root),
            *("--min-side", min_side),
            *("--rows-per-shard", rows_per_shard),
            *("--metrics", metrics.path),
            *("--executor-input", "{{$}}"),
        ],
    )
