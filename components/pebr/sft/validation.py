"""Validation of SFT: the loss on rows that are held out.

loss = - sum over the answers' tokens of log p(token | question, images, tokens before) / tokens of the answers
"""

import math

import torch
import torch.distributed as dist

from pebr.sft.batches import Batch
from pebr.training.engine import TrainingEngine
from pebr.vlm.rows import Row


@torch.no_grad()
def validation_loss(engine: TrainingEngine, batch: Batch, filler: Row) -> float | None:
    """The mean loss per token of the answers; None if there are none, or if it is not finite. All ranks call this.

    Args:
        engine: with the weights to validate.
        batch: this rank's part of the held-out rows.
        filler: a row without answers, for the passes of a rank that has fewer rows than another.
    """
    rounds = torch.tensor(len(batch.rows))
    dist.all_reduce(rounds, op=dist.ReduceOp.MAX)  # sharded ranks must run equally many passes
    total = torch.zeros((), dtype=torch.float64)
    engine.module.eval()
    for row in [*batch.rows, *[filler] * (int(rounds) - len(batch.rows))]:
        logprobs, _ = engine.module(row.to(engine.device))
        total -= logprobs.sum().double().cpu()
    engine.module.train()
    dist.all_reduce(total)
    mean = total.item() / max(batch.answer_tokens, 1)
    return mean if batch.answer_tokens and math.isfinite(mean) else None
