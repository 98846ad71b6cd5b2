"""The evaluation step as a Kubeflow component."""

from kfp import dsl

from pebr.step.command import IMAGE


@dsl.container_component
def evaluate(
    model: dsl.Input[dsl.Model],
    benchmarks: dsl.Input[dsl.Artifact],
    clip_model: dsl.Input[dsl.Artifact],
    output: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    checkpoints: str = "",
    only: str = "",
    sampling: str = "vllm",
    samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    max_prompt_tokens: int = 4096,
    max_response_tokens: int = 2048,
    min_pixels: int = 576,
    max_pixels: int = 802816,
    dtype: str = "bf16",
    judge_url: str = "",
    judge_model: str = "",
    seed: int = 0,
) -> dsl.ContainerSpec:
    """Score a model on benchmarks, by rule, and on how well it describes their images.

    Args:
        model: Hugging Face model directory.
        benchmarks: directory of VLMEvalKit-style TSV files; the file's name is the benchmark's.
        clip_model: open_clip or FG-CLIP directory for the CLIP reward of the image descriptions; empty for none.
        output: directory to write: scores.json, and every answer with its scores (answers/NAME/, a Parquet dataset a
            benchmark).
        metrics: file for the scalar metrics.
        checkpoints: folder or s3:// prefix that keeps the finished benchmarks, so that a run started again goes on from
            them; empty: `<output>.checkpoints` beside the output.
        only: benchmarks to run, by TSV name, separated by commas; empty for all in the directory.
        sampling: engine that samples the answers, vllm or transformers.
        samples: answers a question; accuracy is the share of right ones.
        temperature: of sampling; 0 takes the likeliest token each time.
        top_p: smallest set of likeliest tokens that has this probability is sampled from.
        max_prompt_tokens: a longer prompt is not asked; its row counts as wrong and stands in answers/NAME/rejected.
        max_response_tokens: an answer is cut off after this many tokens.
        min_pixels: smaller images are enlarged to this many pixels.
        max_pixels: larger images are shrunk to this many pixels; the value of training.
        dtype: of the weights, bf16 or fp32.
        judge_url: address of an OpenAI-compatible endpoint that judges the answers that the rules call wrong; empty for
            none. Its key is read from the environment variable PEBR_JUDGE_KEY.
        judge_model: name of the judge's model at that endpoint.
        seed: of sampling.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["python", "-m", "pebr.evaluate"],
        args=[
            *("--model", model.path),
            *("--benchmarks", benchmarks.path),
            *("--clip-model", clip_model.path),
            *("--output", output.path),
            *("--metrics", metrics.path),
            *("--checkpoints", checkpoints),
            *("--only", only),
            *("--sampling", sampling),
            *("--samples", samples),
            *("--temperature", temperature),
            *("--top-p", top_p),
            *("--max-prompt-tokens", max_prompt_tokens),
            *("--max-response-tokens", max_response_tokens),
            *("--min-pixels", min_pixels),
            *("--max-pixels", max_pixels),
            *("--dtype", dtype),
            *("--judge-url", judge_url),
            *("--judge-model", judge_model),
            *("--seed", seed),
            *("--executor-input", "{{$}}"),
        ],
    )
