"""The solver of the board answers as a search over all objects does, and only from the facts it is given."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.toy.board.scenes import CELLS, PAIRS, Fact, board, describe
from pebr.toy.board.solver import Question, answer, column, facts_in, follow, measures

QUESTIONS = st.builds(Question, st.sampled_from(CELLS), st.integers(1, 4))
MOVES = {"circle": (-1, 0), "square": (1, 0), "triangle": (0, -1), "cross": (0, 1)}  # rows, columns


def searched(question: Question, facts: tuple[Fact, ...]) -> str:
    """All chains of facts, kept where every link holds."""
    chains: list[tuple[Fact, ...]] = [(fact,) for fact in facts if fact.cell == question.start]
    for _ in range(question.hops - 1):
        chains = [(*chain, fact) for chain, fact in product(chains, facts) if linked(chain[-1], fact)]
    return chains[0][-1].object if len(chains) == 1 else ""


def linked(before: Fact, after: Fact) -> bool:
    (row, column), (down, right) = divmod(CELLS.index(before.cell), 4), MOVES[before.shape]
    return CELLS.index(after.cell) == (row + down) % 4 * 4 + (column + right) % 4


@given(question=QUESTIONS, seed=st.integers(0, 10_000), kept=st.floats(0.3, 1.0))
def test_the_solver_finds_what_a_search_finds(question: Question, seed: int, kept: float) -> None:
    draw = random.Random(seed)
    facts = tuple(fact for fact in board(draw, 8, 14).facts if draw.random() < kept)
    assert answer(question, facts) == searched(question, facts)


@given(seed=st.integers(0, 10_000))
def test_a_description_is_read_back(seed: int) -> None:
    facts = board(random.Random(seed), 2, 16).facts
    assert facts_in(describe(facts)) == facts
    assert facts_in(describe(facts).upper().replace(" ", "\n")) == facts


def test_a_contradiction_answers_nothing() -> None:
    facts = (Fact("af", "red", "cross"), Fact("af", "blue", "cross"), Fact("dg", "red", "square"))
    assert answer(Question("af"), facts) == ""
    assert follow(Question("dg", 2), facts) == ([facts[2]], "ag")
    assert answer(Question("dg", 2), (*facts, Fact("ag", "red", "circle"))) == "red-circle"
    assert answer(Question("dg", 2), (*facts, Fact("ag", "red", "circle"), Fact("ag", "red", "cross"))) == ""


def test_measures_separate_what_is_described_from_what_is_right() -> None:
    shown = (
        Fact("af", "red", "cross"),
        Fact("ag", "blue", "cross"),
        Fact("ch", "red", "circle"),
        Fact("dj", "black", "square"),
    )
    cell = column(Question("af", 2), shown)
    full = {"oracle": 1.0, "described": 1.0, "stated_right": 1.0}
    assert measures(cell, describe(shown)) == full
    assert measures(cell, describe(shown[:2])) == full | {"described": 0.5}
    assert measures(cell, describe(shown[1:])) == full | {"described": 0.75, "oracle": 0.0}
    wrong = (*shown[:2], Fact("ch", "green", "circle"))
    assert measures(cell, describe(wrong)) == {"oracle": 1.0, "described": 0.5, "stated_right": pytest.approx(2 / 3)}
    assert measures(cell, "A picture.") == {"oracle": 0.0, "described": 0.0}
    every = ", ".join(f"{c} {'-'.join(pair)}" for c in CELLS for pair in PAIRS)
    assert measures(cell, every)["oracle"] == 0.0  # who states everything has stated nothing


FACTS = '"facts": ["af red-cross"]'


@pytest.mark.parametrize(
    "cell",
    [
        "x",
        "{}",
        "[1]",
        '{"start": 1}',
        f'{{"start": "af", "hops": null, {FACTS}}}',
        f'{{"start": "af", "hops": 0, {FACTS}}}',
        f'{{"start": "af", "hops": 1000000000, {FACTS}}}',
        f'{{"start": "bf", "hops": 1, {FACTS}}}',
        '{"start": "af", "hops": 1, "facts": []}',
    ],
)
def test_another_tables_column_is_refused(cell: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        measures(cell, "The board has af red-cross.")
