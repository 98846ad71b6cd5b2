"""Settings that every step that samples answers has."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.sampling import vllm_args
from pebr.step.settings import ANY_VALUE_RESUMES, PROCESSES, Bounds
from pebr.vlm.settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(ModelSettings):
    """The sampling engine, and how it samples."""

    sampling: Annotated[
        Literal["vllm", "transformers"],
        "Engine that samples. vllm is faster; with transformers an answer does not depend on its batch.",
    ] = "vllm"
    samples: Annotated[int, Bounds(1), "Answers per question."] = 8
    temperature: Annotated[float, Bounds(0, 100), "Sampling temperature; 0 takes the most likely token."] = 1.2
    top_p: Annotated[
        float,
        Bounds(0, 1, above=True),
        "Sample from the smallest set of most likely tokens with this total probability; 1 for all tokens.",
    ] = 1.0
    max_prompt_tokens: Annotated[
        int,
        Bounds(1),
        "Questions with a longer prompt, image tokens included, are rejected and counted, never shortened.",
    ] = 2048
    max_response_tokens: Annotated[int, Bounds(1), "Answers are cut off after this many tokens."] = 2048
    tensor_parallel: Annotated[
        int,
        Bounds(1, 64),
        ANY_VALUE_RESUMES,
        "GPUs per vLLM engine; use more than 1 if the model does not fit one GPU.",
    ] = 1
    memory_share: Annotated[
        float,
        Bounds(0, 1, above=True),
        ANY_VALUE_RESUMES,
        "Share of a GPU's memory that vLLM may use for weights and key-value cache.",
    ] = 0.9
    vllm_args: Annotated[
        str,
        "Further arguments of vLLM's engine, a JSON object: enforce_eager, quantization, kv_cache_dtype, max_num_seqs,"
        " speculative_config and all others but those that pebr sets itself; empty for none.",
    ] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        vllm_args.parse(self.vllm_args)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(SamplerSettings):
    """A sampler in each of several workers (`pebr.sampling.workers`)."""

    processes: Annotated[
        int, PROCESSES, ANY_VALUE_RESUMES, "Workers, each with its own model; 0 for one per GPU, or one without GPUs."
    ] = 0
