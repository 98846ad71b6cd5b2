"""The questions of the board: answers are right, the teacher is right where its description is, the splits differ."""

import json

import pytest

from pebr.errors import InputError
from pebr.toy.board.scenes import PAIRS, next_cell
from pebr.toy.board.solver import Question, answer, facts_in, follow
from pebr.toy.board.world import Difficulty, question, questions
from pebr.vlm.response import parse

QUESTIONS = list(questions(seed=3, rows=360, split="rl"))


def asked(made) -> Question:
    data = json.loads(made.board)
    return Question(data["start"], data["hops"])


def test_answers_follow_from_the_image_and_every_hop_needs_another_object() -> None:
    for made in QUESTIONS:
        facts = facts_in(made.description)
        assert tuple(fact.phrase for fact in facts) == made.key_words
        assert made.problem == f"<image>{asked(made).text}"
        assert made.answer == answer(asked(made), facts) != ""
        chain, _ = follow(asked(made), facts)
        assert len(set(chain)) == int(made.kind[0])
        for fact in chain:  # without any of its facts the answer is not known
            assert answer(asked(made), [other for other in facts if other != fact]) == ""


def test_kinds_come_in_turn() -> None:
    kinds = [(made.kind, made.difficulty) for made in QUESTIONS]
    assert kinds == [("1 hop", "easy"), ("2 hops", "medium"), ("3 hops", "hard")] * 120
    assert {asked(made).text.split(" from ")[0] for made in QUESTIONS[1::3]} == {"What is 1 move"}


def test_the_teacher_is_right_where_its_description_is() -> None:
    left_out, lucky, guesses = [], 0, 0
    for made in QUESTIONS:
        taught, careful = parse(made.taught), parse(made.response)
        assert taught.well_formed
        assert careful.well_formed
        assert (careful.description, careful.answer) == (made.description, made.answer)
        seen, shown = facts_in(taught.description), facts_in(made.description)
        assert set(seen) <= set(shown)
        left_out += [fact not in seen for fact in shown]
        chain, missing = follow(asked(made), seen)
        stated = [fact.phrase for fact in chain] + [f"{missing} unknown"] * bool(missing)
        led = [f" {next_cell(fact)}." for fact in chain[: asked(made).hops - 1]]
        assert len(taught.steps) == len(stated)
        for step, fact_of_step in zip(taught.steps, stated, strict=True):
            assert step.startswith(f"See {fact_of_step}")
        for step, end in zip(taught.steps, led, strict=False):
            assert step.endswith(end)
        if not missing:
            assert taught.answer == made.answer
        else:
            guesses += 1
            lucky += taught.answer == made.answer
            assert taught.answer in ["-".join(pair) for pair in PAIRS]
    assert sum(left_out) / len(left_out) == pytest.approx(Difficulty().left_out, abs=0.04)
    assert guesses > 100
    assert lucky / guesses < 0.15


def test_the_difficulty_is_kept() -> None:
    hard = Difficulty.of("objects=14&hops=3&left_out=0.8")
    for made in questions(0, 40, "sft", difficulty=hard):
        assert len(made.key_words) == 14
        assert made.kind == "3 hops"
        assert len(facts_in(parse(made.taught).description)) < 10
    whole = next(questions(0, 1, "sft", difficulty=Difficulty.of("left_out=0")))
    assert parse(whole.taught).description == whole.description
    assert Difficulty.of("") == Difficulty()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("objects=8-17", "objects from 3 to 16"),
        ("objects=2", "objects from 3"),
        ("objects=9-8", "objects from 3"),
        ("hops=4", "hops from 1 to 3"),
        ("left_out=1", "left_out=0.4"),
        ("left_out=0.1-2", "left_out=0.4"),
        ("objects=1.5", "objects=8-14"),
        ("size=3", "size=3: give objects"),
    ],
)
def test_a_wrong_difficulty_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Difficulty.of(text)


def test_the_smallest_boards_have_questions_of_three_hops() -> None:
    for made in questions(0, 3, "rl", difficulty=Difficulty.of("objects=3&hops=3")):
        assert len(made.key_words) == 3
        assert follow(asked(made), facts_in(made.description))[1] == ""


def test_a_question_follows_from_its_place() -> None:
    again = question(3, "rl", 17, Difficulty())
    assert again.image.tobytes() == QUESTIONS[17].image.tobytes()
    assert (again.taught, again.board) == (QUESTIONS[17].taught, QUESTIONS[17].board)
    assert question(4, "rl", 17, Difficulty()).board != again.board


def test_no_image_is_in_two_splits() -> None:
    made = {split: {q.description for q in questions(0, 200, split)} for split in ("sft", "rl", "test")}
    assert not made["sft"] & made["rl"]
    assert not made["test"] & (made["sft"] | made["rl"])
