"""Settings that every step that samples answers has."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.errors import InputError
from pebr.step.settings import ANY_VALUE_RESUMES
from pebr.vlm.settings import ModelSettings


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(ModelSettings):
    """The sampling engine, and how it samples."""

    sampling: Annotated[
        Literal["vllm", "transformers"],
        "Engine that samples. vllm is faster; with transformers an answer does not depend on its batch.",
    ] = "vllm"
    samples: Annotated[int, "Answers per question."] = 8
    temperature: Annotated[float, "Sampling temperature; 0 takes the most likely token."] = 1.2
    top_p: Annotated[
        float, "Sample from the smallest set of most likely tokens with this total probability; 1 for all tokens."
    ] = 1.0
    max_prompt_tokens: Annotated[
        int, "Questions with a longer prompt, image tokens included, are rejected and counted, never shortened."
    ] = 2048
    max_response_tokens: Annotated[int, "Answers are cut off after this many tokens."] = 2048
    tensor_parallel: Annotated[
        int, ANY_VALUE_RESUMES, "GPUs per vLLM engine; use more than 1 if the model does not fit one GPU."
    ] = 1
    memory_share: Annotated[
        float, ANY_VALUE_RESUMES, "Share of a GPU's memory that vLLM may use for weights and key-value cache."
    ] = 0.9

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: naming the setting and how to fix it.
        """
        super().__post_init__()
        if self.samples < 1:
            raise InputError(f"--samples={self.samples}: give at least 1")
        self.at_least(max_response_tokens=1)
        if self.temperature < 0:
            raise InputError(f"--temperature={self.temperature}: give at least 0")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top_p={self.top_p}: give a value in (0, 1]")
