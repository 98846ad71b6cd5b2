"""The ingest step as a Kubeflow component."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def ingest(
    output: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    source: str,
    kind: str = "",
    rows: int = 0,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Bring one dataset, set of benchmarks or model to the pipeline.

    Args:
        source: where it is: toy://sft, toy://rl, toy://benchmarks, toy://model or toy://clip (made here), a path,
            s3://bucket/prefix, or hf://[datasets/]organisation/name[@revision].
        output: directory to write: the source's files as they are.
        kind: what it must be, seen before anything is made of it: benchmarks (tables with all their columns), model or
            clip (a configuration and safetensors); empty for no check.
        rows: toy only: how many rows to make; 0 makes as many as the tiny world is meant to have.
        seed: toy only: seed of everything random in it; the same seed gives the same bytes.
        metrics: file for the scalar metrics.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.ingest"],
        args=[
            *("--source", source),
            *("--output", output.path),
            *("--kind", kind),
            *("--rows", rows),
            *("--seed", seed),
            *("--metrics", metrics.path),
            *("--executor-input", "{{$}}"),
        ],
    )
