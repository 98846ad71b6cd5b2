"""The reward of each stage: its sum, its scores, and how mode `paper` differs from mode `released`."""

import random
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Literal

import pytest

from pebr.answers.check import AnswerChecker
from pebr.errors import InputError
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import ClipScorer
from pebr.rewards.settings import RewardSettings
from pebr.rewards.stages import BUILT_IN, StageReward, Tools, build_reward

WEIGHTS = {"clip": 0.4, "keyword": 0.4, "format": 0.1, "length": 0.1, "accuracy": 0.9}
Make = Callable[..., RewardBatch]
Write = Callable[..., str]
Rewards = dict[str, StageReward]


def count_words(text: str) -> int:
    return len(text.split())


def both_modes(stage: Literal["perception", "reasoning"], tools: Tools) -> Rewards:
    weights = {f"{name}_weight": weight for name, weight in WEIGHTS.items()}
    modes: tuple[Literal["paper", "released"], ...] = ("paper", "released")
    return {mode: build_reward(RewardSettings(stage=stage, reward_mode=mode, **weights), tools) for mode in modes}


@pytest.fixture
def perception(scorer: ClipScorer, checker: AnswerChecker) -> Rewards:
    return both_modes("perception", Tools(checker, count_words, scorer))


@pytest.fixture
def reasoning(checker: AnswerChecker) -> Rewards:
    return both_modes("reasoning", Tools(checker, count_words))


def test_a_stage_is_the_weighted_sum_of_its_components(perception: Rewards, make_batch: Make, good: Write) -> None:
    batch = make_batch([good(), good("No shapes at all."), "nonsense"])
    scores = perception["paper"].reward(batch)
    assert list(scores.raw) == ["clip", "keyword", "format", "length"]
    for name, weight in WEIGHTS.items():
        if name != "accuracy":
            assert scores.weighted[name] == [weight * value for value in scores.raw[name]]
    for index, total in enumerate(scores.total):
        assert total == pytest.approx(sum(column[index] for column in scores.weighted.values()))
    assert set(scores.seconds) == set(scores.raw)
    assert all(seconds >= 0 for seconds in scores.seconds.values())


def test_the_reasoning_stage_is_accuracy_and_format(reasoning: Rewards, make_batch: Make, good: Write) -> None:
    batch = make_batch([good(answer="7"), good(answer="8"), "### The final answer is: 7", ""])
    assert reasoning["paper"].reward(batch).total == pytest.approx([1.0, 0.1, 0.9, 0.0])


def test_weight_0_leaves_a_component_out(checker: AnswerChecker) -> None:
    settings = RewardSettings(
        stage="perception", keyword_weight=1.0, clip_weight=0.0, format_weight=0.0, length_weight=0.0
    )
    reward = build_reward(settings, Tools(checker, count_words))
    assert reward.weights == {"keyword": 1.0}


def test_settings_that_cannot_work_are_refused(checker: AnswerChecker) -> None:
    tools = Tools(checker, count_words)
    with pytest.raises(InputError, match="without a CLIP model"):
        build_reward(RewardSettings(stage="perception"), tools)
    with pytest.raises(InputError, match="every reward weight is 0"):
        build_reward(RewardSettings(clip_weight=1.0, accuracy_weight=0.0, format_weight=0.0), tools)


def test_every_built_in_reward_has_a_weight_and_every_weight_a_reward() -> None:
    weights = {field.name for field in fields(RewardSettings) if field.name.endswith("_weight")}
    assert weights == {f"{name}_weight" for name in BUILT_IN}


def test_columns_of_different_length_are_refused(make_batch: Make, good: Write) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        make_batch([good()], references=["7", "8"])


# How mode `paper` differs from mode `released`, one test per difference.


def raw(rewards: Rewards, batch: RewardBatch, component: str) -> tuple[list[float], list[float]]:
    return tuple(rewards[mode].reward(batch).raw[component] for mode in ("paper", "released"))  # type: ignore[return-value]


def test_key_words_count_in_the_description_alone(perception: Rewards, make_batch: Make, good: Write) -> None:
    elsewhere = good("There is a red square.").replace("Look at the shapes.", "There is a circle.")
    assert raw(perception, make_batch([elsewhere]), "keyword") == ([0.0], [1.0])


def test_key_words_are_whole_words(perception: Rewards, make_batch: Make, good: Write) -> None:
    batch = make_batch([good("There are 10 of one category.")], key_words=[["1", "cat"]])
    assert raw(perception, batch, "keyword") == ([0.5], [1.0])  # "one" is 1


def test_an_empty_key_word_never_matches_and_duplicates_count_once(
    perception: Rewards, make_batch: Make, good: Write
) -> None:
    batch = make_batch([good("There is a circle.")], key_words=[["", "circle", "Circle", "circles", "square"]])
    paper, released = raw(perception, batch, "keyword")
    assert paper == [0.5]
    assert released == [3 / 5]  # "", "circle", "Circle"


def test_an_empty_description_earns_no_clip_reward(perception: Rewards, make_batch: Make, good: Write) -> None:
    paper, released = raw(perception, make_batch([good(description="")]), "clip")
    assert paper == [0.0]
    assert released != [0.0]


def test_the_clip_reward_is_never_negative(
    perception: Rewards, make_batch: Make, good: Write, image_files: list[bytes]
) -> None:
    texts = [good(f"There is a {word}.") for word in ("cat", "dog", "tree", "bus", "hat", "bar chart", "triangle", "x")]
    batch = make_batch(texts * 4, images=[[image_file] for image_file in image_files for _ in texts])
    paper, released = raw(perception, batch, "clip")
    assert min(released) < 0.0  # with random weights some cosines are negative
    assert min(paper) == 0.0
    assert all(0.0 <= value <= 1.0 for value in paper)


def test_the_length_reward_counts_the_description(perception: Rewards, make_batch: Make, good: Write) -> None:
    short, long = good("There is one."), good("word " * 1024)
    batch = make_batch([short, long, good("")], response_tokens=[2048, 512, 10])
    assert raw(perception, batch, "length") == ([1.0, 0.5, 0.0], [0.25, 1.0, 1.0])


def test_the_format_demands_order_and_content(perception: Rewards, make_batch: Make, good: Write) -> None:
    backwards = "".join(f"### {section}\n" for section in reversed(good().split("### ")[1:]))
    quoted = 'Write "### Image Description:" "### Rationales:" "### Step 1:" "### The final answer is:"'
    batch = make_batch([good(), good(description=""), backwards, good() + good(), quoted])
    paper, released = raw(perception, batch, "format")
    assert paper == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert released == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_the_last_answer_counts_in_any_case(reasoning: Rewards, make_batch: Make) -> None:
    twice = "### The final answer is: 8\n### The final answer is: 7"
    batch = make_batch([twice, "###  the FINAL answer is: 7", "### The final answer is:\n\n 7"])
    assert raw(reasoning, batch, "accuracy") == ([1.0, 1.0, 1.0], [0.0, 0.0, 1.0])


def test_options_are_read_from_the_column_or_from_the_question(reasoning: Rewards, make_batch: Make) -> None:
    answers = ["### The final answer is: 14", "### The final answer is: B. 14", "### The final answer is: A"]
    listed = "How many?\nChoices:\n(A) 12\n(B) 14"
    from_question = make_batch(answers, references=["B"] * 3, questions=[listed] * 3)
    from_column = make_batch(answers, references=["B"] * 3, extra={"options": [{"A": "12", "B": "14"}] * 3})
    for batch in (from_question, from_column):
        assert reasoning["paper"].reward(batch).raw["accuracy"] == [1.0, 1.0, 0.0]


# Mode `released` compared with a plain transcription of the formulas of the released code.


def transcription(
    response: str, tokens: int, key_words: list[str], cosine: float, accurate: bool
) -> tuple[float, float]:
    """The sums of both stages by the formulas of the released code: (stage 1, stage 2)."""
    response = re.sub(r"\s*(<|>|/)\s*", r"\1", response)
    clip = min(1, cosine / 0.4)
    keyword = sum(1 for word in key_words if word.lower() in response.lower()) / len(key_words) if key_words else 0.0
    headers = ("Image Description:", "Rationales:", r"Step\s*1:", "The final answer is:")
    form = 1 if all(re.search(r"###\s*" + header, response, re.IGNORECASE) for header in headers) else 0
    length = 1 if tokens <= 512 else 512 / tokens
    return 0.4 * clip + 0.4 * keyword + 0.1 * form + 0.1 * length, 0.9 * (1 if accurate else 0) + 0.1 * form


def random_response(draw: random.Random) -> str:
    """Correct and wrong headers and words, in any order."""
    pieces = [
        "### Image Description: a red circle\n",
        "### image description:",
        "### Rationales: look\n",
        "###Rationales:",
        "### Let's think step by step.\n",
        "### Step 1: count\n",
        "### Step 2: add\n",
        "### The final answer is: 7\n",
        "### The final answer is: 8\n",
        "### the final answer is: 7\n",
        *("seven circles ", "Category ", "10 ", "\n", "7 ", " < ", "/ ", "\n> ", "AB <  CD", "### <Step 1:"),
    ]
    return "".join(draw.choices(pieces, k=draw.randint(0, 12)))


def test_released_equals_a_plain_transcription(
    scorer: ClipScorer,
    perception: Rewards,
    reasoning: Rewards,
    checker: AnswerChecker,
    make_batch: Make,
    image_files: list[bytes],
) -> None:
    draw = random.Random(0)
    responses = [random_response(draw) for _ in range(1000)]
    tokens = [draw.randint(1, 2048) for _ in responses]
    key_words = [
        draw.sample(["circle", "cat", "1", "7", "Red", "", "AB < CD", "ab<cd"], draw.randint(0, 4)) for _ in responses
    ]
    images = [[draw.choice(image_files)] for _ in responses]
    batch = make_batch(responses, response_tokens=tokens, key_words=key_words, images=images)

    texts, answers = [], []
    for response in (re.sub(r"\s*(<|>|/)\s*", r"\1", text) for text in responses):
        found = re.search(r"###\s*Image Description:(.*?)###\s*Rationales:", response, re.DOTALL | re.IGNORECASE)
        texts.append(found[1].strip() if found else "")
        line = re.search(r"### The final answer is:\s*([^\n]*)", response)
        answers.append(line[1].strip() if line else response.strip())
    cosines = scorer.score([image for [image] in images], texts)
    accurate = checker.check(answers, ["7"] * len(answers))
    expected = [transcription(*row) for row in zip(responses, tokens, key_words, cosines, accurate, strict=True)]

    assert perception["released"].reward(batch).total == [first for first, _ in expected]
    assert reasoning["released"].reward(batch).total == [second for _, second in expected]
    assert 0 < sum(accurate) < len(accurate)  # both outcomes occur
