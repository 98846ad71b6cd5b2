"""Learning-rate schedules as functions of the step, so there is no state to save."""

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int, warmup_ratio: float) -> float:
    """Compute the learning rate of the optimizer update that follows `step` updates.

    It rises linearly from 0 to `peak` during the first `ceil(warmup_ratio * total_steps)` updates. Then it stays
    constant, or falls to 0 along half a cosine: SGDR without restarts (arXiv 1608.03983), the same as transformers'
    `get_cosine_schedule_with_warmup`.

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
