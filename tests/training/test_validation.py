"""The held-out questions, the best training step and the early stop follow from ids and rows alone."""

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.errors import InputError
from pebr.training.best import weights_in
from pebr.training.validation import HistoryRow, Score, held_out, own_rows

IDS = st.lists(st.text(min_size=1), min_size=1, max_size=40, unique=True)


@given(IDS, st.integers(1, 50), st.randoms())
def test_the_same_questions_are_held_out_in_any_order(ids: list[str], count: int, chance: random.Random) -> None:
    trained, held = held_out(ids, count)
    assert sorted([*trained, *held]) == list(range(len(ids)))
    assert len(held) == min(count, len(ids) // 2)
    shuffled = chance.sample(ids, len(ids))
    assert {shuffled[place] for place in held_out(shuffled, count)[1]} == {ids[place] for place in held}


@given(IDS.map(lambda ids: [name for name in ids if "~" not in name] or ["a"]), st.integers(1, 50), st.integers(2, 3))
def test_no_copy_of_a_held_out_question_is_trained_on(ids: list[str], count: int, times: int) -> None:
    copied = [name if copy == 1 else f"{name}~{copy}" for name in ids for copy in range(1, times + 1)]
    trained, held = held_out(copied, count)
    assert [copied[place] for place in held] == [ids[place] for place in held_out(ids, count)[1]]
    assert len(trained) == (len(ids) - len(held)) * times
    assert not {copied[place].partition("~")[0] for place in trained} & {copied[place] for place in held}


@given(IDS, st.text(min_size=1))
def test_one_more_question_moves_at_most_one(ids: list[str], more: str) -> None:
    before = {ids[place] for place in held_out(ids, len(ids) // 4)[1]}
    longer = list(dict.fromkeys([*ids, more]))
    after = {longer[place] for place in held_out(longer, len(ids) // 4)[1]}
    assert len(before - after) <= 1


def rows_of(values: list[float | None]) -> list[HistoryRow]:
    """A history with validations where there is a value."""
    return [{"step": i} | ({} if value is None else {"score": value}) for i, value in enumerate(values, start=1)]


VALUES = st.lists(st.none() | st.integers(0, 5).map(float), min_size=1, max_size=20)


@given(VALUES, st.booleans(), st.integers(0, 5).map(float), st.integers(0, 4))
def test_best_and_stop_equal_a_plain_loop(values: list[float | None], higher: bool, bar: float, patience: int) -> None:
    best, waited, reached = None, 0, False
    for step, value in enumerate(values, start=1):
        if value is None:
            reached = False
            continue
        if best is None or (value > best[1] if higher else value < best[1]):
            best, waited = (step, value), 0
        else:
            waited += 1
        reached = bar > 0 and (value >= bar if higher else value <= bar)
    rows = rows_of(values)
    score = Score("score", higher, bar, patience)
    found = score.best(rows)
    assert (None if found is None else (found["step"], found["score"])) == best
    plateau = patience > 0 and waited >= patience and values[-1] is not None
    assert bool(score.stop(rows)) == (reached or plateau)


def test_scores_of_a_run_that_this_one_continues_do_not_count() -> None:
    rows = rows_of([9.0, 8.0, 1.0, 2.0])
    rows[2]["resumed_from"] = "other/step-00000002"
    assert Score("score", True).best(own_rows(rows, pending=False)) is rows[3]
    stopping = Score("score", True, stop_patience=1)
    assert stopping.stop(rows[:2])
    assert not stopping.stop(own_rows(rows[:2], pending=True))


def test_a_validation_without_a_value_is_none() -> None:
    assert Score("score", True, stop_at=1.0, stop_patience=1).best([{"step": 1, "score": None}]) is None
    assert not Score("score", True, stop_at=math.inf).stop(rows_of([3.0]))


def test_the_folder_of_the_best_weights(tmp_path: Path) -> None:
    assert weights_in(tmp_path, "last") == tmp_path
    with pytest.raises(InputError, match=r"no best.json: train with --validate-every"):
        weights_in(tmp_path, "best")
    for folder in ("best", ""):
        (tmp_path / "best.json").write_text(json.dumps({"folder": folder}))
        assert weights_in(tmp_path, "best") == tmp_path / folder
