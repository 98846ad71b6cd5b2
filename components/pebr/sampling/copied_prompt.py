"""The cache of a question's answers for models whose layers carry a state: every answer has a copy of its prompt's.

A state is changed by each token, so answers cannot share it as they share keys and values (`shared_prompt`). The copies
are those of transformers' own cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class CopiedPromptCache:
    """Keys, values and states of one question's answers. Finished answers stay in it until all have ended."""

    def __init__(self, of_prompt: Any, rows: int, device: torch.device) -> None:
        """Make so many rows of the cache of a prompt, a `DynamicCache` of one row."""
        of_prompt.reorder_cache(torch.zeros(rows, dtype=torch.long, device=device))
        self.arguments: dict[str, Any] = {"past_key_values": of_prompt, "attention_mask": None}  # of the text model

    def advance(self) -> None:
        """Does nothing: the cache counts its tokens itself."""

    def keep(self, questions: Tensor) -> None:
        """Does nothing: with one question, decoding ends when it has ended."""


@contextmanager
def evaluating(text_model: nn.Module) -> Iterator[None]:
    """The text model in evaluation mode."""
    training = text_model.training
    text_model.eval()
    try:
        yield
    finally:
        text_model.train(training)
