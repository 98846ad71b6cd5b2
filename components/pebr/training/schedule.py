"""Learning-rate schedules, as functions of the step: no state to save, and so none to get wrong on a resume."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int, warmup_ratio: float) -> float:
    """The learning rate of one optimizer step.

    Rises in a straight line over the first `ceil(warmup_ratio * total_steps)` steps, from 0 before the first, and then
    stays (constant) or falls along half a cosine to 0 after the last (cosine): the schedules of SGDR without restarts
    (arXiv 1608.03983) as transformers' `get_cosine_schedule_with_warmup` has them.

    Args:
        schedule: its shape after the warm-up.
        peak: the highest rate.
        step: optimizer steps done before this one.
        total_steps: optimizer steps of the whole run.
        warmup_ratio: share of the steps that the warm-up takes.

    >>> [round(learning_rate("cosine", 1.0, step, 10, 0.2), 3) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(warmup_ratio * total_steps)
    if step < warmup:
        return peak * step / warmup
    if schedule == "constant":
        return peak
    progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
