"""Which questions are asked: the one check of SFT, rollout, GRPO and evaluation, with one set of reasons.

A prompt's length follows from its text and its images' sizes, so a prompt that is too long is rejected before any pixel
is decoded. Prompts are never shortened.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pebr.data.images import ImageError, decode, size_of
from pebr.data.readers import Fault
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.prompt import PromptError

NOT_ASKABLE = "question cannot be asked"
BAD_IMAGE = "image cannot be used"
TOO_LONG = "prompt too long"

Result = TypeVar("Result")


def image_bytes(images: Iterable[Mapping[str, bytes | None]] | None) -> list[bytes]:
    """The bytes of a row's images; b"" for an image without any."""
    return [image["bytes"] or b"" for image in images or ()]


def prompt_tokens(
    problem: str,
    images: Sequence[bytes],
    encoder: Encoder,
    max_prompt_tokens: float = math.inf,
    history: Sequence[str] = (),
) -> int | Fault:
    """The number of tokens of a prompt, or why it is not asked. No pixel is decoded."""
    tokens = _or_fault(lambda: encoder.prompt_length(problem, [size_of(image) for image in images], history))
    return tokens if isinstance(tokens, Fault) else _too_long(tokens, max_prompt_tokens) or tokens


def encode(problem: str, images: Sequence[bytes], encoder: Encoder, max_prompt_tokens: int) -> Prompt | Fault:
    """The encoded prompt, or why it is not asked. All pixels are decoded, so a broken image is found in any case."""
    prompt = _or_fault(lambda: encoder.prompt(problem, [decode(image) for image in images]))
    return prompt if isinstance(prompt, Fault) else _too_long(len(prompt.token_ids), max_prompt_tokens) or prompt


def admit(problem: str, images: Sequence[bytes], encoder: Encoder, max_prompt_tokens: int) -> Prompt | Fault:
    """As `encode`, but of a prompt that is too long no pixel is decoded."""
    tokens = prompt_tokens(problem, images, encoder, max_prompt_tokens)
    return tokens if isinstance(tokens, Fault) else encode(problem, images, encoder, max_prompt_tokens)


def _too_long(tokens: int, limit: float) -> Fault | None:
    return Fault(TOO_LONG, f"{tokens} prompt tokens, at most {limit} are asked") if tokens > limit else None


def _or_fault(make: Callable[[], Result]) -> Result | Fault:
    try:
        return make()
    except PromptError as error:
        return Fault(NOT_ASKABLE, str(error))
    except ImageError as error:
        return Fault(BAD_IMAGE, str(error))
