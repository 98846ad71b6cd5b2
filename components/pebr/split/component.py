"""The split step as a Kubeflow component."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def split(
    rollouts: dsl.Input[dsl.Dataset],
    easy: dsl.Output[dsl.Dataset],
    medium: dsl.Output[dsl.Dataset],
    hard: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    easy_at_least: float = 1.0,
    hard_at_most: float = 0.0,
) -> dsl.ContainerSpec:
    """Split questions by how many of their answers were right: all (easy), some (medium), none (hard).

    Args:
        rollouts: Parquet dataset of questions with their scored answers.
        easy: dataset of easy questions to write.
        medium: dataset of medium questions to write.
        hard: dataset of hard questions to write; incomplete questions are in its rejected/ folder.
        easy_at_least: a question is easy when at least this share of its answers is right.
        hard_at_most: a question is hard when at most this share of its answers is right.
        metrics: file for the scalar metrics.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.split"],
        args=[
            *("--rollouts", rollouts.path),
            *("--easy", easy.path),
            *("--medium", medium.path),
            *("--hard", hard.path),
            *("--easy-at-least", easy_at_least),
            *("--hard-at-most", hard_at_most),
            *("--metrics", metrics.path),
            *("--executor-input", "{{$}}"),
        ],
    )
