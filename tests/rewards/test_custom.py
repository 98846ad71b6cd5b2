"""Custom rewards: weighted, timed, added to the built-in ones; every failure is an error."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pebr.answers.check import AnswerChecker
from pebr.errors import InputError
from pebr.rewards.batch import RewardBatch, RewardError
from pebr.rewards.custom import load_custom
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import Tools, build_reward

MODULE = """
import math
import time

def short(batch):
    return [1.0 if tokens < 100 else 0.0 for tokens in batch.response_tokens]

def sees_everything(batch):
    time.sleep(0.05)
    assert batch.parsed[0].answer == "7"
    assert batch.images[0][0].startswith(b"\\x89PNG")
    assert batch.extra["kind"][0] == "count"
    return [len(question) / 100 for question in batch.questions]

def fails_on_q1(batch):
    return [1 / (qid != "q1") for qid in batch.qids]

def too_few(batch):
    return [1.0]

def not_a_number(batch):
    return [math.nan if qid == "q1" else 1.0 for qid in batch.qids]

def no_number(batch):
    return [None for qid in batch.qids]

value = 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards_of_a_test", raising=False)


def call(name: str, batch: RewardBatch) -> list[float]:
    [(_, component)] = load_custom(f"my_rewards_of_a_test:{name}=0.5").values()
    return component(batch)


def test_it_stands_beside_the_built_in_ones(
    checker: AnswerChecker, make_batch: Callable[..., RewardBatch], good: Callable[..., str]
) -> None:
    custom = "my_rewards_of_a_test:short=0.25, my_rewards_of_a_test:sees_everything=2"
    reward = build_reward(RewardSettings(stage="reasoning", reward=custom), Tools(checker, len))
    batch = make_batch([good(), good()], response_tokens=[50, 200], extra={"kind": ["count", "sum"]})
    scores = reward.reward(batch)
    name = "my_rewards_of_a_test:short"
    assert scores.raw[name] == [1.0, 0.0]
    assert scores.weighted[name] == [0.25, 0.0]
    assert scores.total == pytest.approx([1.0 + 0.25 + 0.32, 1.0 + 0.32])
    assert scores.seconds["my_rewards_of_a_test:sees_everything"] >= 0.05


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails_on_q1", "question q1 .*ZeroDivisionError"),
        ("too_few", "1 values for 3 samples"),
        ("not_a_number", "question q1: nan is not a finite number"),
        ("no_number", "question q0: None is not a finite number"),
    ],
)
def test_errors_name_the_sample(make_batch: Callable[..., RewardBatch], name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        call(name, make_batch(["a", "b", "c"]))


@pytest.mark.parametrize(
    "text",
    ["my_rewards_of_a_test:short", "my_rewards_of_a_test:short=much", "my_rewards_of_a_test:short=nan",
     "no_such_module:short=1", "my_rewards_of_a_test:none=1", "my_rewards_of_a_test:value=1", "short=1",
     "my_rewards_of_a_test:short=1,my_rewards_of_a_test:short=2"],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        load_custom(text)


def test_nothing_named_is_nothing() -> None:
    assert load_custom("") == {}
