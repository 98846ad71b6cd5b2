"""Micro-batches of an optimizer update: packed rows with what the objective needs to know of each token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from pebr.grpo.blind import hidden_tokens
from pebr.grpo.experience import Experience
from pebr.grpo.loss import answer_weights
from pebr.grpo.objective import Tokens, active_terms
from pebr.grpo.prompts import Move
from pebr.grpo.settings import ObjectiveSettings
from pebr.training.balance import deal_from
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.rows import Group, Row, blank_row, pack


class MicroBatch(NamedTuple):
    """A packed row of T predicted tokens, on the CPU. From `advantages` on, the order is that of `Tokens`."""

    row: Row
    hidden: Tensor | None  # (L,) bool: tokens that the blind view does not see; None: no active term needs it
    disturbed: Tensor | None  # (T,) bool: tokens that were sampled from a disturbed image; None: none were
    advantages: Tensor  # (T,)
    weights: Tensor  # (T,)
    sampler_logprobs: Tensor  # (T,)
    old_logprobs: Tensor | None = None  # (T,)
    reference_logprobs: Tensor | None = None  # (T,)
    blind_logprobs: Tensor | None = None  # (T,)

    def tokens(self, logprobs: Tensor, entropies: Tensor) -> Tokens:
        """Add the policy's output, (T,) each, and move everything to its device."""
        _, lengths = self.row.segments.unique_consecutive(return_counts=True)
        known = [None if values is None else values.to(logprobs.device) for values in (*self[3:], lengths)]
        tokens = Tokens(logprobs, entropies, *known)  # type: ignore[arg-type]
        if self.disturbed is None:
            return tokens
        # The sampler's log-probabilities of these tokens are of another prompt, and say nothing about this one.
        own = logprobs.detach() if tokens.old_logprobs is None else tokens.old_logprobs
        disturbed = self.disturbed.to(logprobs.device)
        return tokens._replace(sampler_logprobs=torch.where(disturbed, own, tokens.sampler_logprobs))


@dataclass(frozen=True)
class Packer:
    """Packs this rank's share of an update into micro-batches."""

    encoder: Encoder
    prompt_of: Callable[[int], Prompt]  # the encoded question of a dataset row
    settings: ObjectiveSettings
    tokens_per_batch: int  # token budget of a packed row
    max_response_tokens: int
    rank: int
    world_size: int
    exchange: Callable[[Sequence[Move]], None] = lambda moves: None  # brings questions to the ranks that train on them
    seed: int = 0  # of the tokens that are hidden

    @cached_property
    def filler(self) -> MicroBatch:
        """A micro-batch that predicts nothing."""
        none = torch.zeros(0)
        return MicroBatch(blank_row(self.encoder), None, None, none, none, none, none, none, none)

    def gather(self, updates: Sequence[Sequence[Experience]]) -> None:
        """Bring the encoded questions of some updates to the ranks that train on them. All ranks call this."""
        self.exchange(
            [
                Move(experience.row, experience.owner, rank)
                for experiences in updates
                for rank, hand in enumerate(self._hands(experiences))
                for experience in hand
                if experience.owner != rank
            ]
        )

    def _hands(self, experiences: Sequence[Experience]) -> list[list[Experience]]:
        """The experiences that each rank trains on."""
        # If every term needs an advantage, the loss of a group of equal rewards is exactly 0. Its tokens still count
        # in the normalisation.
        skips_equal = all(term.needs_advantage for term in active_terms(self.settings))
        useful = [e for e in experiences if e.token_ids and (e.teaches or not skips_equal)]
        lengths = [e.prompt_tokens + e.answer_tokens for e in useful]
        hands = deal_from([e.owner for e in useful], lengths, self.world_size)
        return [[useful[index] for index in hand] for hand in hands]

    def pack(self, experiences: Sequence[Experience], step: int = 0) -> list[MicroBatch]:
        """Pack this rank's share of an update; [] if other ranks have everything.

        Every rank passes the experiences of the whole update, so that ranks divide it without communication. Call
        `gather` before.

        Args:
            experiences: of the update, over all ranks.
            step: optimizer updates done before this one.
        """
        mine = self._hands(experiences)[self.rank]
        if not mine:
            return []
        lengths = torch.tensor([len(ids) for e in mine for ids in e.token_ids])
        weights = answer_weights(
            lengths.tolist(),
            sum(e.answer_tokens for e in experiences),
            sum(len(e.token_ids) for e in experiences),
            self.settings.normalisation,
            self.max_response_tokens,
        )
        advantages = torch.cat([e.token_advantages for e in mine])
        logprobs = torch.cat([torch.tensor(values) for e in mine for values in e.logprobs])
        disturbed = torch.tensor([seen for e in mine for seen in e.disturbed or [False] * len(e.token_ids)])
        starts = lengths.cumsum(0) - lengths
        numbers = iter(range(len(lengths)))
        groups = [Group(self.prompt_of(e.row), e.token_ids, [next(numbers) for _ in e.token_ids]) for e in mine]
        owners = [e for e in mine for _ in e.token_ids]
        needs_blind = self.settings.credit != "even" or any(term.needs_blind for term in active_terms(self.settings))
        return [
            MicroBatch(
                row,
                self._hidden(row, owners, step) if needs_blind else None,
                disturbed[row.segments] if bool(disturbed.any()) else None,
                advantages=advantages[starts[row.segments] + row.offsets],
                weights=weights[row.segments],
                sampler_logprobs=logprobs[starts[row.segments] + row.offsets],
            )
            for row in pack(groups, self.tokens_per_batch, self.encoder)
        ]

    def _hidden(self, row: Row, owners: Sequence[Experience], step: int) -> Tensor:
        """The tokens of a row that the blind view does not see, (L,) bool; `owners` by number of the answer."""
        hidden = torch.zeros(row.tokens, dtype=torch.bool)
        numbers = iter(row.segments.unique_consecutive().tolist())
        image_token, share = self.encoder.image_token_id, self.settings.hidden_share
        for span in row.spans:
            answers = [next(numbers) for _ in span.answers]
            if answers:
                prompt = row.input_ids[0, span.start : span.start + span.prompt].tolist()
                qid = str(owners[answers[0]].question["qid"])
                hidden[span.start : span.start + span.prompt] = hidden_tokens(
                    prompt, image_token, share, self.seed, step, qid
                )
        return hidden
