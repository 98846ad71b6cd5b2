"""The Kubeflow interface of the rollout phase."""

from kfp import dsl

from pebr.step.command import IMAGE


# fmt: off - a flag and its value on one line
@dsl.container_component
def rollout(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    checkpoints: str = "",
    samples: int = 8,
    temperature: float = 1.2,
    top_p: float = 0.99,
    max_prompt_tokens: int = 2048,
    max_response_tokens: int = 2048,
    min_pixels: int = 576,
    max_pixels: int = 802816,
    sampling: str = "vllm",
    dtype: str = "bf16",
    rows_per_shard: int = 512,
    processes: int = 0,
    tensor_parallel: int = 1,
    memory_share: float = 0.9,
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Sample answers to every question of the RL set and score each for accuracy.

    Args:
        model: model to sample from, a Hugging Face directory.
        dataset: filtered RL rows, the directory that `filter --kind rl` wrote.
        output: Parquet dataset to write: every question with all its answers; refused questions in rejected/.
        metrics: JSON file to write the step's scalar results to.
        checkpoints: folder or s3:// prefix that keeps the finished shards, so that a run started again goes on from
            them; empty: `<output>.checkpoints` beside the output.
        samples: answers a question.
        temperature: divides the logits before sampling; 0 takes the likeliest token each time.
        top_p: sample from the smallest set of likeliest tokens that has this probability; 1 samples from all.
        max_prompt_tokens: a question with more tokens, image tokens included, is rejected, never shortened.
        max_response_tokens: an answer is cut off after this many tokens and marked as cut off.
        min_pixels: smaller images are enlarged to this many pixels.
        max_pixels: larger images are reduced to this many pixels; the value of training, or difficulty is measured on
            other pictures than are trained on.
        sampling: engine that samples the answers: vllm, or transformers (slower, answers do not depend on the batch).
        dtype: number format of the weights.
        rows_per_shard: questions of one output shard, which is what a killed run loses at most.
        processes: workers on this machine, each with a model of its own; 0 means one per GPU, or one without GPUs.
        tensor_parallel: GPUs that one vLLM engine spreads a model over; more than 1 when a model needs it.
        memory_share: share of a GPU's memory that vLLM may take for weights and key-value cache.
        seed: the run's seed; an answer's own seed follows from it, the question and the answer's place.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.rollout"],
        args=[
            "--model",
            model.path,
            "--dataset",
            dataset.path,
            "--output",
            output.path,
            "--metrics",
            metrics.path,
            "--checkpoints",
            checkpoints,
            "--samples",
            samples,
            "--temperature",
            temperature,
            "--top-p",
            top_p,
            "--max-prompt-tokens",
            max_prompt_tokens,
            "--max-response-tokens",
            max_response_tokens,
            "--min-pixels",
            min_pixels,
            "--max-pixels",
            max_pixels,
            "--sampling",
            sampling,
            "--dtype",
            dtype,
            "--rows-per-shard",
            rows_per_shard,
            "--processes",
            processes,
            "--tensor-parallel",
            tensor_parallel,
            "--memory-share",
            memory_share,
            "--seed",
            seed,
            "--executor-input",
            "{{$}}",
        ],
    )
