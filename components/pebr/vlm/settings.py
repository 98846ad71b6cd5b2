"""Settings that every step with a vision-language model has."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pebr.errors import InputError
from pebr.step.settings import Bounds, StepSettings

PIXELS = Bounds(784, 2**26)  # one token of Qwen2.5-VL; the largest image that is read

Reading = Literal["strict", "lenient"]


@dataclass(frozen=True, kw_only=True)
class ReadingSettings(StepSettings):
    """How the final answer of a response is found."""

    answer_reading: Annotated[
        Reading,
        "How training finds the final answer: strict, under its exact header; lenient, also under other headers, in"
        " <answer> tags, in a box, and in the sentence 'The answer is'. Evaluation is always lenient.",
    ] = "strict"


@dataclass(frozen=True, kw_only=True)
class ModelSettings(StepSettings):
    """The model's number format, and the image sizes that it reads."""

    dtype: Annotated[Literal["bf16", "fp32"], "Number format of the model's arithmetic."] = "bf16"
    min_pixels: Annotated[int, Bounds(1, PIXELS.most), "Smaller images are enlarged to this many pixels."] = 576
    max_pixels: Annotated[
        int,
        PIXELS,
        "Larger images are reduced to this many pixels. Use one value for training, rollout and evaluation: difficulty"
        " and scores must be measured on the images that the model is trained on.",
    ] = 802816

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_pixels > self.max_pixels:
            raise InputError(f"--min-pixels {self.min_pixels}: give at most --max-pixels ({self.max_pixels})")
