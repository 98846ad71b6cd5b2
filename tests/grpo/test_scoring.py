"""Answers are scored while others are sampled, with the values that one batch of all of them has."""

import random
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from pebr.answers.check import AnswerChecker
from pebr.grpo import scoring as module
from pebr.grpo.scoring import Answered, Scoring
from pebr.rewards.batch import RewardBatch, RewardError
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import StageReward, Tools, build_reward
from pebr.sampling.contract import Sample
from tests.answers.test_workers import HANGS

TEXTS = [
    "### Image Description:\nA red circle.\n### Rationales:\nr\n### Let's think step by step.\n### Step 1:\ns\n"
    f"### The final answer is:\n{answer}"
    for answer in (7, 8, "1/2")
] + ["no sections"]


def decode(token_ids: Sequence[int]) -> str:
    return TEXTS[token_ids[0]]


def question(number: int) -> dict[str, Any]:
    return {
        "qid": f"q{number}",
        "problem": "How many?",
        "answer": "7",
        "key_words": ["red circle"],
        "images": [],
        "extra": '{"kind": "count"}' if number % 2 else "",
    }


@pytest.fixture
def answered() -> list[Answered]:
    """20 questions with 0 to 4 answers."""
    rng = random.Random(0)
    return [
        Answered(question(i), [Sample([rng.randrange(4)], [-1.0], "stop") for _ in range(rng.randrange(5))])
        for i in range(20)
    ]


@pytest.fixture
def reward(checker: AnswerChecker) -> StageReward:
    settings = RewardSettings(stage="reasoning", reward="tests.grpo.rewards:vowels=0.5")
    return build_reward(settings, Tools(checker, lambda text: len(text.split())))


def test_parts_in_any_order_have_the_scores_of_one_batch(reward: StageReward, answered: list[Answered]) -> None:
    texts = [[decode(sample.token_ids) for sample in samples] for _, samples in answered]
    whole = reward.reward(module._batch(answered, texts))
    with Scoring(reward, decode) as scoring:
        for one in random.Random(1).sample(answered, len(answered)):
            scoring.add(one)
        found, scores = scoring.scores([asked["qid"] for asked, _ in answered])
    assert found == texts
    assert (scores.total, scores.raw, list(scores.raw)) == (whole.total, whole.raw, list(whole.raw))
    assert scores.failures == 0
    assert set(scores.seconds) == set(whole.seconds) == {"accuracy", "format", "tests.grpo.rewards:vowels"}
    assert scoring.seconds > 0


def test_the_first_questions_are_scored_while_others_are_sampled(reward: StageReward, answered: list[Answered]) -> None:
    """The thread scores eight questions before `scores` is called; a custom reward sees all samples at once."""
    scored, sizes = threading.Event(), []

    def by_sample(batch: RewardBatch) -> list[float]:
        scored.set()
        return [1.0] * len(batch)

    def together(batch: RewardBatch) -> list[float]:
        sizes.append(len(batch))
        return [0.0] * len(batch)

    watched = StageReward(
        {"format": (1.0, by_sample), "custom": (1.0, together)}, reward.checker, by_sample=frozenset({"format"})
    )
    with Scoring(watched, decode) as scoring:
        for one in answered[: module.TOGETHER]:
            scoring.add(one)
        assert scored.wait(timeout=60)
        assert sizes == []
        for one in answered[module.TOGETHER :]:
            scoring.add(one)
        scoring.scores([asked["qid"] for asked, _ in answered])
    assert sizes == [sum(len(samples) for _, samples in answered)]


def test_a_component_that_fails_ends_the_sampling(reward: StageReward, answered: list[Answered]) -> None:
    def fails(batch: RewardBatch) -> list[float]:
        raise RewardError("format: question q3")

    watched = StageReward({"format": (1.0, fails)}, reward.checker, by_sample=frozenset({"format"}))
    with Scoring(watched, decode) as scoring:
        scoring.add(answered[0])
        scoring._submit()
        scoring._parts[0].exception(timeout=60)  # until the thread has failed
        with pytest.raises(RewardError, match="question q3"):
            scoring.add(answered[1])


def test_an_answer_that_the_check_gives_up_is_counted() -> None:
    text = TEXTS[0].replace("\n7", f"\n{HANGS[0]}")
    with AnswerChecker(seconds=0.2) as checker:
        reward = build_reward(RewardSettings(stage="reasoning"), Tools(checker, len))
        with Scoring(reward, lambda _: text) as scoring:
            hard = {**question(0), "answer": HANGS[1]}
            scoring.add(Answered(hard, [Sample([0], [-1.0], "stop")]))
            _, scores = scoring.scores(["q0"])
    assert scores.failures == 1
    assert scores.raw["accuracy"] == [0.0]
