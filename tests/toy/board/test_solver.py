"""The solver of the board answers as a search over all objects does, and only from the facts it is given."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.toy.board.scenes import CELLS, PAIRS, STEPS, Fact, board, describe
from pebr.toy.board.solver import Question, answer, column, facts_in, follow, measures
from pebr.toy.scenes import COLOURS

QUESTIONS = st.one_of(
    st.builds(Question, st.sampled_from(CELLS)),
    st.builds(Question, st.sampled_from(["-".join(pair) for pair in PAIRS])),
    st.builds(
        lambda cell, colour, way: Question(cell, (colour, way)),
        st.sampled_from(CELLS), st.sampled_from(sorted(COLOURS)), st.sampled_from(sorted(STEPS)),
    ),
    st.builds(
        lambda pair, way, colour: Question("-".join(pair), (way, colour)),
        st.sampled_from(PAIRS), st.sampled_from(sorted(STEPS)), st.sampled_from(sorted(COLOURS)),
    ),
)  # fmt: skip
DIRECTIONS = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}


def searched(question: Question, facts: tuple[Fact, ...]) -> str:
    """All chains of facts, kept where every link holds."""
    chains = [
        chain
        for chain in product(facts, repeat=1 + len(question.hops))
        if question.start in (chain[0].cell, chain[0].object)
        and all(linked(*pair) for pair in zip(chain, question.hops, chain[1:], strict=False))
    ]
    if len(chains) != 1:
        return ""
    last = chains[0][-1]
    return last.cell if question.text.startswith("Where") else last.object


def linked(before: Fact, hop: str, after: Fact) -> bool:
    if hop in COLOURS:
        return (after.colour, after.shape) == (hop, before.shape)
    row, column = divmod(CELLS.index(before.cell), 4)
    down, right = DIRECTIONS[hop]
    return divmod(CELLS.index(after.cell), 4) == (row + down, column + right)


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
    facts = (Fact("af", "red", "cross"), Fact("af", "blue", "cross"), Fact("bg", "red", "circle"))
    assert answer(Question("af"), facts) == ""
    assert answer(Question("red-cross"), facts) == "af"
    assert answer(Question("red-circle"), (*facts, Fact("ch", "red", "circle"))) == ""
    assert follow(Question("bg", ("red",)), facts)[0][-1].object == "red-circle"


def test_measures_separate_what_is_described_from_what_is_right() -> None:
    shown = (
        Fact("af", "red", "cross"),
        Fact("bg", "blue", "cross"),
        Fact("ch", "red", "circle"),
        Fact("dj", "black", "square"),
    )
    cell = column(Question("af", ("blue",)), shown)
    full = {"oracle": 1.0, "described": 1.0, "stated_right": 1.0}
    assert measures(cell, describe(shown)) == full
    assert measures(cell, describe(shown[:2])) == full | {"described": 0.5}
    assert measures(cell, describe(shown[1:])) == full | {"described": 0.75, "oracle": 0.0}
    wrong = (*shown[:2], Fact("ch", "green", "circle"))
    assert measures(cell, describe(wrong)) == {"oracle": 1.0, "described": 0.5, "stated_right": pytest.approx(2 / 3)}
    assert measures(cell, "A picture.") == {"oracle": 0.0, "described": 0.0}
    every = ", ".join(f"{c} {'-'.join(pair)}" for c in CELLS for pair in PAIRS)
    assert measures(cell, every)["oracle"] == 0.0  # who states everything has stated nothing


@pytest.mark.parametrize("cell", ["x", "{}", '{"start": "af", "hops": null, "facts": []}', "[1]", '{"start": 1}'])
def test_another_tables_column_is_refused(cell: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        measures(cell, "The board has af red cross.")
