"""The tiny CLIP of the board: captions are whole, the others lack a fact or state a wrong one."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pebr.rewards.clip import load_scorer
from pebr.toy.board.clip import CONTEXT, caption, train_clip, worth, wrong_caption
from pebr.toy.board.scenes import board, describe
from pebr.toy.board.solver import facts_in
from pebr.toy.board.world import questions
from pebr.toy.clip import build_caption_tokenizer
from pebr.toy.formats import png


def test_captions_are_whole_and_the_others_lack_or_change_a_fact() -> None:
    changed = 0
    for seed in range(300):
        draw = random.Random(seed)
        shown = board(draw, 2, 16)
        assert set(facts_in(caption(shown, draw))) == set(shown.facts)
        stated = set(facts_in(wrong_caption(shown, draw)))
        assert not set(shown.facts) <= stated
        extra = stated - set(shown.facts)
        changed += bool(extra)
        assert len(extra) <= 1
        assert len(stated) == len(shown.facts) if extra else len(stated) < len(shown.facts)
    assert 100 < changed < 200


def test_a_caption_is_worth_the_facts_that_it_shares_of_all_facts_stated() -> None:
    three = "af red-cross, bf blue-square, cg green-circle"
    facts = facts_in(three)
    assert len(facts) == 3
    assert worth(three, describe(facts[::-1])) == 1
    assert worth(three, describe(facts[:2])) == 2 / 3
    assert worth(three, describe([*facts[:2], replace(facts[2], colour="red")])) == 2 / 4
    assert worth(three, describe([])) == 0


def test_every_caption_fits_the_context() -> None:
    tokenizer = build_caption_tokenizer(questions)
    fullest = board(random.Random(0), 16, 16)
    for text in [describe(fullest.facts), *(made.description for made in questions(0, 60, "sft"))]:
        assert len(tokenizer(text)["input_ids"]) <= CONTEXT


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        train_clip(tmp_path / name, seed=1, steps=1)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # minutes of training on one core
def test_a_trained_model_prefers_complete_descriptions(tmp_path: Path) -> None:
    scorer = load_scorer(str(train_clip(tmp_path, seed=0)))
    made = list(questions(0, 200, "test"))
    images = [png(question.image) for question in made]
    facts = [facts_in(question.description) for question in made]

    def mean(count: int) -> float:
        return torch.tensor(scorer.score(images, [describe(of[: round(len(of) * count / 4)]) for of in facts])).mean()

    assert mean(4) > mean(3) > mean(2) > mean(1)
    others = scorer.score(images, [made[place - 7].description for place in range(200)])
    assert mean(4) > torch.tensor(others).mean() + 0.1
