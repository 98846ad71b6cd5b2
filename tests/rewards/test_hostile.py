"""Hostile responses: none runs code, exceeds the time limit or crashes a training step; memory stays bounded."""

import random
import re
import resource
import time
from pathlib import Path

import pytest

from pebr.answers import workers
from pebr.answers.check import AnswerChecker
from pebr.answers.equality import compare
from pebr.rewards.batch import RewardBatch
from pebr.rewards.keywords import keyword_reward
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import Tools, build_reward
from pebr.vlm.response import parse

PIECES = [
    "9**9**9**9", "9^{9^{9^{9}}}", "2^10000000", "10000000!", "((((", "))))", "[" * 50, "{" * 50, "\\frac",
    "\\frac{1}{", "\\sqrt{", "\\left(", "\\right)", "\x00", "\ud800", "\udfff", "\u202e", "\u200b", "\ufeff",
    "\u0301" * 20, "$$", "$", "**", "\\boxed{", "}", "###", "### ", "### The final answer is:",
    "### Image Description:", "### Step 1:", "### Step 99999999:", "A", "(B)", "or", "7", "-", "1/0", "1e999999999",
    "0x7f", "inf", "nan", "∞", "½", "²" * 20, "\\text{", "\\begin{pmatrix}", "\\int_0^\\infty",
    "\\sum_{i=1}^{10^9} i!", "\\prod", "\\lim", "x", "=", "<", "1,000,000", "%", "\n", "\n\n", "\t", " " * 30,
    "__import__('os').system('touch {marker}')", "eval('1+1')", "exec(\"open('{marker}','w')\")", "{{7*7}}",
    "lambda: 0", "().__class__.__bases__[0].__subclasses__()", "import os", "; rm -rf /", "<|im_start|>", "<image>",
    "مرحبا", "数字七", "🙂", "ﬁ", "İ", "ẞ",
]  # fmt: skip


def responses(count: int, seed: int, marker: Path) -> list[str]:
    """Random sequences of hostile pieces, half of them in the format."""
    draw = random.Random(seed)
    made = []
    for index in range(count):
        pieces = [draw.choice(PIECES).replace("{marker}", str(marker)) for _ in range(draw.randint(1, 40))]
        text = "".join(pieces) if draw.random() < 0.5 else " ".join(pieces)
        made.append(text if index % 2 else f"### Image Description: {text}\n### The final answer is: {text}")
    return made


@pytest.mark.slow
def test_ten_thousand_hostile_responses(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    texts = responses(10_000, 0, marker)
    draw = random.Random(1)
    references = [draw.choice(["7", "A", "x+1", "\\sqrt{2}", "yes", "(1,2)", "blue", "\\{1,2\\}"]) for _ in texts]
    batch = RewardBatch(
        qids=[str(i) for i in range(len(texts))],
        questions=["?"] * len(texts),
        references=references,
        responses=texts,
        response_tokens=[len(text) for text in texts],
        key_words=[["7", "circle"]] * len(texts),
        images=[[]] * len(texts),
    )
    limit = 1.0
    with AnswerChecker(workers=2, seconds=limit) as checker:
        for stage, mode in (
            ("perception", "paper"),
            ("perception", "released"),
            ("reasoning", "paper"),
            ("reasoning", "released"),
        ):
            settings = RewardSettings(stage=stage, reward_mode=mode, clip_weight=0.0)  # type: ignore[arg-type]
            reward = build_reward(settings, Tools(checker, len))
            started = time.monotonic()
            scores = reward.reward(batch)
            seconds = time.monotonic() - started
            assert len(scores.total) == len(texts)
            assert all(0.0 <= value <= 1.0 for value in scores.total)
            assert seconds < 60 + 2 * limit * checker.failures
        assert checker.failures < 100  # few pairs reach the time limit
    assert not marker.exists()


def test_a_thousand_hostile_responses_one_by_one(tmp_path: Path) -> None:
    marker, limit = tmp_path / "marker", 0.5
    references = ["7", "A", "x+1", "\\sqrt{2}", "yes", "(1,2)", "blue", "\\{1,2\\}", "x > 5", "5 cm"]
    with AnswerChecker(workers=1, seconds=limit) as checker:
        checker.check(["x+1"], ["1+x"])  # the worker has started
        longest = 0.0
        for index, text in enumerate(responses(1000, 2, marker)):
            started = time.monotonic()
            checker.check([parse(text).answer or text], [references[index % len(references)]])
            longest = max(longest, time.monotonic() - started)
        assert longest < limit * workers.BUSY + workers.GRACE_SECONDS + 5  # plus the start of another worker
        for worker in checker.pool.workers:
            assert resident(worker.process.pid) < 1_000_000
    assert not marker.exists()


def resident(pid: int) -> int:
    """Resident memory of a process and its children, in kilobytes."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = int(re.search(r"VmRSS:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]
    return own + sum(resident(int(child)) for child in children)


SINGLE = {
    "a tower of powers": "9**9**9**9",
    "a megabyte of brackets": "(" * 1_000_000,
    "a megabyte of spaces": "7" + " " * 1_000_000 + "8",
    "deep nesting": "(" * 400 + "7" + ")" * 400,
    "nested lists": "((1,2)," * 140 + "3" + ")" * 140,
    "code": "__import__('os').system('true')",
    "nul bytes": "7\x00\x008",
    "lone surrogates": "\ud8007\udfff8",
    "right to left": "\u202e7 ro 8",
    "many fractions": "\\frac" * 100_000,
    "nested fractions": "\\frac{" * 150 + "1" + "}{2}" * 150,
    "nested roots": "\\sqrt{" * 150 + "2" + "}" * 150,
    "many digits": "9" * 1_000_000,
    "many commas": "1," * 500,
    "many factorials": "3" + "!" * 200,
    "an endless sum": "\\sum_{i=1}^{10^{12}} \\frac{1}{i!+x}",
    "many emphases": "**" * 400 + "8",
    "many boxes": "\\boxed{" * 140,
    "an integral": "\\int_0^x e^{t^3} \\sin(t^t) dt + x",
    "many headers": "### The final answer is: " * 40_000,
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("reference", ["7", "\\sqrt{2} x", "A"])
def test_each_is_settled_within_the_limit(checker: AnswerChecker, name: str, reference: str) -> None:
    checker.check(["x+1"], ["1+x"])  # the workers have started
    started = time.monotonic()
    answer = parse(SINGLE[name]).answer or SINGLE[name]
    assert checker.check([answer], [reference]) == [False]
    assert time.monotonic() - started < 2 * (5 * 2.0 + 5.0)  # two pairs at the wall-clock limit


@pytest.mark.parametrize("name", SINGLE)
def test_rules_take_milliseconds(name: str) -> None:
    started = time.process_time()
    compare(SINGLE[name], "7")
    compare("7", SINGLE[name])
    compare(SINGLE[name], SINGLE[name], {"A": SINGLE[name], "B": "7"})
    assert time.process_time() - started < 1.0


def test_a_megabyte_takes_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in SINGLE.values():
        compare(text, text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_keywords_of_hostile_descriptions(make_batch) -> None:  # type: ignore[no-untyped-def]
    started = time.process_time()
    batch = make_batch([f"### Image Description: {text}" for text in SINGLE.values()])
    assert all(0 <= value <= 1 for value in keyword_reward(batch))
    assert time.process_time() - started < 20
