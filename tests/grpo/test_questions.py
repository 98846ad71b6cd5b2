"""The order of questions, and which are rejected."""

import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pebr.data.records import RL_SCHEMA, SPLIT_SCHEMA
from pebr.data.shards import ShardWriter
from pebr.errors import InputError
from pebr.grpo.questions import Plan, askable, variances
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(1, 3), st.integers(0, 5))
def test_an_epoch_visits_no_question_twice(count, per_step, per_update, epochs, seed):
    plan = Plan(range(count), per_step, min(per_update, per_step), epochs, 0, seed)
    for epoch in range(epochs):
        visited = []
        for step in range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch):
            updates = plan.updates(step)
            assert all(len(update) <= per_update for update in updates)
            visited += [row for update in updates for row in update]
        assert len(set(visited)) == len(visited) > max(count - per_step, 0)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {
        (seed, epoch): str(Plan(range(8), 8, 8, 2, 0, seed).updates(epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


def test_max_steps_ends_early():
    assert Plan(range(100), 10, 5, 3, 7, 0).steps == 7
    assert Plan(range(100), 10, 5, 3, 0, 0).steps == 30


def test_fewer_questions_than_a_step_are_a_step():
    assert Plan(range(3), 8, 2, 1, 0, 0).updates(0) == [[0, 2], [1]]


@given(st.integers(2, 40), st.integers(1, 12), st.floats(0, 1), st.integers(0, 5))
def test_no_question_is_drawn_twice_in_a_step(count, per_step, share, seed):
    per_step = min(per_step, count)
    values = [(i % 5) / 16 for i in range(count)]
    plan = Plan(range(count), per_step, per_step, 2, 0, seed, values, share)
    for step in range(plan.steps):
        (chosen,) = plan.updates(step)
        assert len(set(chosen)) == len(chosen) == per_step
        assert plan.updates(step) == [chosen]


def test_questions_are_drawn_in_proportion_to_their_variance():
    shares = [1 / 8, 2 / 8, 4 / 8, 1.0]
    values = [p * (1 - p) for p in shares]
    plan = Plan(range(4), 1, 1, 20_000, 0, 0, values, 1.0)
    found = Counter(plan.updates(step)[0][0] for step in range(20_000))
    for question, value in enumerate(values):
        assert found[question] / 20_000 == pytest.approx(value / sum(values), abs=0.012)  # 3.5 standard errors
    assert found[3] == 0


def test_variances_are_those_of_the_rollout(tmp_path):
    with ShardWriter(tmp_path / "split", SPLIT_SCHEMA, "split") as writer:
        for correct in (0, 2, 4, 8):
            row = {"qid": str(correct), "problem": "?", "answer": "", "key_words": [], "images": [], "extra": ""}
            writer.write(row | {"source": "", "difficulty": "medium", "correct": correct, "samples": 8})
    assert variances(tmp_path / "split", [0, 1, 2, 3]) == [0.0, 0.1875, 0.25, 0.0]
    with pytest.raises(InputError, match="accuracy of no question varies"):
        variances(tmp_path / "split", [0, 3])


@pytest.fixture
def dataset(tmp_path):
    def write(problems):
        buffer = io.BytesIO()
        Image.new("RGB", (56, 56)).save(buffer, format="PNG")
        images = [{"bytes": buffer.getvalue(), "path": None}]
        with ShardWriter(tmp_path, RL_SCHEMA, "rl") as writer:
            for qid, problem in problems:
                writer.write(
                    {"qid": qid, "problem": problem, "answer": "", "key_words": [], "images": images, "extra": ""}
                )
        return tmp_path

    return write


def test_variances_need_an_output_of_split(dataset):
    with pytest.raises(InputError, match="no column correct"):
        variances(dataset([("a", "<image>How many?")]), [0])


def test_unusable_questions_are_rejected_and_counted(dataset, tiny_models):
    encoder = Encoder(load_processor(tiny_models["qwen2_5_vl"]))
    path = dataset(
        [("a", "<image>How many?"), ("b", "<image>" + "long " * 300), ("a", "again"), ("c", "<image><image>x")]
    )
    kept, rejected = askable(path, encoder, max_prompt_tokens=150, needs_key_words=False)
    assert kept == [0]
    assert rejected["prompt too long"] == rejected["qid twice"] == 1
    assert rejected.total() == 3


def test_no_question_left_is_a_wrong_input(dataset, tiny_models):
    encoder = Encoder(load_processor(tiny_models["qwen2_5_vl"]))
    with pytest.raises(InputError, match="no question can be asked"):
        askable(dataset([("a", "<image>How many?")]), encoder, max_prompt_tokens=5, needs_key_words=False)


def test_a_question_without_key_words_is_rejected_where_they_are_rewarded(dataset, tiny_models):
    encoder = Encoder(load_processor(tiny_models["qwen2_5_vl"]))
    path = dataset([("a", "<image>How many?")])
    assert askable(path, encoder, max_prompt_tokens=150, needs_key_words=False)[0] == [0]
    with pytest.raises(InputError, match="no key words, while the reward has a keyword weight"):
        askable(path, encoder, max_prompt_tokens=150, needs_key_words=True)
