"""Custom rewards: weighted, timed, added to the built-in ones; every failure is an error."""

import gc
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
import os
import random
import signal
import sys
import time
import numpy as np

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

def leaves(batch):
    sys.exit(0)

def leaves_on_q1(batch):
    if "q1" in batch.qids:
        os._exit(0)
    return [0.0] * len(batch)

def crashes_on_q1(batch):
    if "q1" in batch.qids:
        os.kill(os.getpid(), signal.SIGSEGV)
    return [0.0] * len(batch)

def hangs_on_q1(batch):
    while "q1" in batch.qids:
        pass
    return [0.0] * len(batch)

def nothing(batch):
    return None

def words(batch):
    return "123"[:len(batch)]

def by_name(batch):
    return dict.fromkeys(batch.qids, 1.0)

def texts(batch):
    return ["0.5"] * len(batch)

def huge(batch):
    return [10 ** 400] * len(batch)

def prints(batch):
    print("a line", flush=True)
    return [1.0] * len(batch)

def tables(batch):
    return np.array([[1.0, 2.0]] * len(batch))

def arrays(batch):
    return np.arange(len(batch), dtype=np.float32)

def generates(batch):
    return (1.0 for _ in batch.qids)

def draws(batch):
    return [random.random() for _ in batch.qids]

def counts(batch, calls=[]):
    calls.append(1)
    return [float(len(calls))] * len(batch)

def changes_responses(batch):
    batch.responses[0] = "better"
    return [1.0] * len(batch)

def changes_key_words(batch):
    batch.key_words[0].clear()
    return [1.0] * len(batch)

def changes_extra(batch):
    batch.extra["kind"] = []
    batch.extra["more"] = 1
    return [1.0] * len(batch)

value = 7
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards_of_a_test", raising=False)


def call(name: str, batch: RewardBatch) -> list[float]:
    [(_, component)] = load_custom(f"my_rewards_of_a_test:{name}=0.5", seconds=2.0).values()
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
        (
            "too_few",
            r"questions q0 to q2 together \(no single sample fails alone\): it returned 1 values for 3 samples",
        ),
        ("tables", r"question q0: array\(\[1., 2.\]\) is not a finite number"),
        ("not_a_number", "question q1: nan is not a finite number"),
        ("no_number", "question q0: None is not a finite number"),
        ("leaves", r"question q0 .*it called sys.exit\(0\)"),
        ("leaves_on_q1", r"question q1 \(sample 1 of 3\): it ended its process \(exit code 0\)"),
        ("crashes_on_q1", r"question q1 .*it ended its process \(signal 11\)"),
        ("hangs_on_q1", r"question q1 .*no answer within 2 s"),
        ("nothing", "question q0 .*it returned NoneType, not one number per sample"),
        ("words", "question q0 .*it returned str"),
        ("by_name", "question q0 .*it returned dict"),
        ("texts", "question q0: '0.5' is not a finite number"),
        ("huge", "question q0: 1000.* is not a finite number"),
        ("changes_responses", "question q0 .*TypeError: 'tuple' object does not support item assignment"),
        ("changes_key_words", "question q0 .*AttributeError: 'tuple' object has no attribute 'clear'"),
    ],
)
def test_errors_name_the_sample(make_batch: Callable[..., RewardBatch], name: str, message: str) -> None:
    with pytest.raises(RewardError, match=f"^reward my_rewards_of_a_test:{name}: .*{message}"):
        call(name, make_batch(["a", "b", "c"]))


def test_what_it_prints_does_no_harm(make_batch: Callable[..., RewardBatch], capfd: pytest.CaptureFixture[str]) -> None:
    assert call("prints", make_batch(["a", "b"])) == [1.0, 1.0]
    assert capfd.readouterr() == ("", "a line\n")


def test_numbers_may_come_in_any_form(make_batch: Callable[..., RewardBatch]) -> None:
    assert call("generates", make_batch(["a", "b"])) == [1.0, 1.0]
    assert call("arrays", make_batch(["a", "b"])) == [0.0, 1.0]


def test_it_changes_its_own_copy_of_a_batch_only(make_batch: Callable[..., RewardBatch]) -> None:
    batch = make_batch(["a"], extra={"kind": ["count"]})
    call("changes_extra", batch)
    assert batch.extra == {"kind": ("count",)}


def test_it_keeps_its_state_from_step_to_step(make_batch: Callable[..., RewardBatch]) -> None:
    [(_, component)] = load_custom("my_rewards_of_a_test:counts=1").values()
    assert [component(make_batch(["a"])) for _ in range(3)] == [[1.0], [2.0], [3.0]]


def test_its_random_numbers_follow_from_the_batch(make_batch: Callable[..., RewardBatch]) -> None:
    first, again, other = (call("draws", make_batch([text])) for text in ("a", "a", "b"))
    assert first == again != other


def test_its_process_ends_with_it(make_batch: Callable[..., RewardBatch]) -> None:
    components = load_custom("my_rewards_of_a_test:counts=1")
    process = components["my_rewards_of_a_test:counts"][1]._process
    assert process.poll() is None
    del components
    gc.collect()
    assert process.poll() == -9


def test_it_may_be_given_by_file(make_batch: Callable[..., RewardBatch], tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "helper.py").write_text("FACTOR = 3.0\n")
    (folder / "mine.py").write_text("from helper import FACTOR\ndef f(batch):\n    return [FACTOR] * len(batch)\n")
    [(weight, component)] = load_custom(f"{folder}/mine.py:f=0.5").values()
    assert weight == 0.5
    assert component(make_batch(["a", "b"])) == [3.0, 3.0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(batch)\n    return [0.0]\n", "SyntaxError: .*mine.py, line 1"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("f = 3\n", "it is not a function"),
        ("import os\nos._exit(0)\n", "it ended its process"),
    ],
)
def test_a_file_that_cannot_be_imported_is_a_wrong_input(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(InputError, match=f"mine.py:f' cannot be imported .*{said}"):
        load_custom(f"{tmp_path}/mine.py:f=1")


@pytest.mark.parametrize(
    "text",
    ["my_rewards_of_a_test:short", "my_rewards_of_a_test:short=much", "my_rewards_of_a_test:short=nan",
     "my_rewards_of_a_test:short=-1e9",
     "no_such_module:short=1", "my_rewards_of_a_test:none=1", "my_rewards_of_a_test:value=1", "short=1",
     "my_rewards_of_a_test:short=1,my_rewards_of_a_test:short=2", "nowhere/mine.py:f=1", ":f=1",
     "my_rewards_of_a_test:=1"],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        load_custom(text)


def test_nothing_named_is_nothing() -> None:
    assert load_custom("") == {}
