"""The command of a GRPO stage with a fault: FAULT=nan, spoiled or rising python -m tests.grpo.faulty --model ..."""

import math
import os
from collections.abc import Iterator
from typing import Any

from pebr.grpo.settings import Settings
from pebr.grpo.work import work
from pebr.sampling.contract import Sample
from pebr.sampling.transformers_engine import TransformersSampler
from pebr.step.command import main
from pebr.training import engine

PLAIN = TransformersSampler.stream


def stream(self: TransformersSampler, questions: Any, settings: Any, step: int) -> Iterator[tuple[str, list[Sample]]]:
    """The answers, with one log-probability that is NaN, or all cut off."""
    for number, (name, samples) in enumerate(PLAIN(self, questions, settings, step)):
        if os.environ["FAULT"] == "nan" and number == 0:
            samples[0] = samples[0]._replace(logprobs=[math.nan, *samples[0].logprobs[1:]])
        if os.environ["FAULT"] == "spoiled":
            samples = [sample._replace(finish_reason="length") for sample in samples]  # noqa: PLW2901
        yield name, samples


def rising(_schedule: str, peak: float, step: int, *_: float) -> float:
    """A learning rate that grows without end."""
    return min(peak * 2.0**step, 1.0)


if __name__ == "__main__":
    if os.environ["FAULT"] == "rising":
        engine.learning_rate = rising  # type: ignore[assignment]
    else:
        TransformersSampler.stream = stream  # type: ignore[method-assign]
    main(Settings, work)
