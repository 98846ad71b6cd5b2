"""Separate advantages of a description's tokens and of the others equal a transcription token by token."""

from array import array
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.grpo.advantages import group_advantages
from pebr.grpo.experience import Experience
from pebr.grpo.micro_batches import Packer
from pebr.grpo.separate import description_tokens, separate
from pebr.grpo.settings import ObjectiveSettings
from pebr.rewards.stages import BUILT_IN
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from pebr.vlm.response import description_span

NAMES = ("clip", "sufficiency", "accuracy", "format")
OF_DESCRIPTION = {name for name, built_in in BUILT_IN.items() if built_in.of_description}
TEXTS = (
    *(question.response for question in questions(0, 4, "rl")),
    "### Image Description:  Drei süße Küken – 鳥 🐤.\n### Rationales:\nr",
    "### Image Description: a\n### Image Description:\n\n b c \n### The final answer is: 7",
    "### Image Description: ends in a character of several tokens 🐤",
    "### Image Description: and here, too 🐤\n### Rationales:\nr",
    "### Image Description: cut off in the mid",
    "### Image Description:\n...\n### Rationales: nothing is described",
    "no sections",
    "",
)


@pytest.fixture(scope="module")
def encoder(tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(tiny_models["qwen2_5_vl"]))


def tokens_by_hand(encoder: Encoder, ids: list[int], text: str) -> list[bool]:
    """Whether each token has a character of the description, by decoding one more token each time."""
    start, end = description_span(text)
    found, before = [], 0
    for count in range(1, len(ids) + 1):
        after = len(encoder.decode(ids[:count]))
        found.append(max(before, start) < min(after, end))
        before = after
    return found


@pytest.mark.parametrize("text", TEXTS)
def test_a_token_is_of_the_description_if_one_of_its_characters_is(encoder: Encoder, text: str) -> None:
    ids = encoder.response_ids(text)
    assert encoder.decode(ids) == text
    first, last = description_tokens(ids, text, encoder.decode)
    if text.isascii():  # a character of several tokens: the transcription gives it to the first
        assert [first <= place < last for place in range(len(ids))] == tokens_by_hand(encoder, ids, text)
    if first < last:
        assert encoder.decode(ids[first:last]).strip() == text[slice(*description_span(text))]


value = st.floats(0, 1).map(lambda v: round(v, 3))


@st.composite
def groups(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]], dict[str, list[float]]]:
    """Lengths, spans of descriptions, and weighted components of a group of answers."""
    lengths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    spans = []
    for length in lengths:
        first = draw(st.integers(0, length))
        spans.append((first, draw(st.integers(first, length))))
    size = len(lengths)
    weighted = {name: draw(st.lists(value, min_size=size, max_size=size)) for name in NAMES}
    return lengths, spans, weighted


def by_hand(rewards: list[float], place: int) -> float:
    if all(reward == rewards[0] for reward in rewards):
        return 0.0
    return (rewards[place] - fmean(rewards)) / (stdev(rewards) + 1e-6)


def tokens_of(lengths: list[int], spans: list[tuple[int, int]], weighted: dict[str, list[float]]) -> list[float]:
    totals = [sum(values) for values in zip(*weighted.values(), strict=True)]
    describing = [a + b for a, b in zip(weighted["clip"], weighted["sufficiency"], strict=True)]
    rest = [a + b for a, b in zip(weighted["accuracy"], weighted["format"], strict=True)]
    expected = []
    for place, (length, (start, end)) in enumerate(zip(lengths, spans, strict=True)):
        for token in range(length):
            rewards = totals if start == end else describing if start <= token < end else rest
            expected.append(by_hand(rewards, place))
    return expected


def experience_of(lengths: list[int], spans: list[tuple[int, int]], weighted: dict[str, list[float]]) -> Experience:
    totals = [sum(values) for values in zip(*weighted.values(), strict=True)]
    count = len(lengths)
    return Experience(
        row=0,
        question={"qid": "q"},
        prompt_tokens=1,
        token_ids=[array("l", [30] * length) for length in lengths],
        logprobs=[array("f", [-1.0] * length) for length in lengths],
        finish_reasons=["stop", "length", *["stop"] * (count - 2)],
        responses=[""] * count,
        rewards=totals,
        components=weighted,
        advantages=group_advantages([totals], "std")[0],
        separate=separate(weighted, OF_DESCRIPTION, "std", spans),
    )


@given(groups())
def test_each_token_has_the_advantage_of_its_kind(group: Any) -> None:
    lengths, spans, _ = group
    experience = experience_of(*group)
    expected = tokens_of(*group)
    assert experience.token_advantages.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    if any(start < end for start, end in spans):
        assert experience.teaches or not any(expected)
    whole = experience._replace(separate=None).token_advantages
    assert whole.tolist() == experience.advantages.repeat_interleave(torch.tensor(lengths)).tolist()
    complete = experience.complete().token_advantages.tolist()  # without the second answer, which is cut off
    assert complete == [*experience.token_advantages[: lengths[0]], *experience.token_advantages[sum(lengths[:2]) :]]


def test_packed_tokens_keep_their_advantages(encoder: Encoder) -> None:
    prompt = encoder.prompt("How many?", [])
    group = (
        [4, 6, 3],
        [(1, 3), (2, 5), (0, 0)],
        dict(zip(NAMES, ([0, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0]), strict=True)),
    )
    packer = Packer(encoder, lambda row: prompt, ObjectiveSettings(kl_weight=0.0), 10_000, 32, 0, 1)
    [batch] = packer.pack([experience_of(*group)])
    starts = torch.tensor([0, 4, 10])  # of the answers' tokens; a row has its answers in another order
    expected = torch.tensor(tokens_of(*group))[starts[batch.row.segments] + batch.row.offsets]
    torch.testing.assert_close(batch.advantages, expected, atol=1e-6, rtol=1e-5)
    assert len(set(batch.advantages.tolist())) > 3


def test_the_rewards_of_descriptions() -> None:
    assert sorted(OF_DESCRIPTION) == ["clip", "keyword", "length", "sufficiency"]
