"""The tiny CLIP: an open_clip directory, the same for the same seed; when trained, it ranks descriptions."""

import random
from pathlib import Path

import pytest
import torch

from pebr.rewards.clip import load_scorer
from pebr.toy.clip import CONTEXT, build_caption_tokenizer, caption, train_clip, wrong_caption
from pebr.toy.formats import png
from pebr.toy.scenes import bar_scene, shape_scene
from pebr.toy.world import questions


def test_same_seed_same_bytes_and_loads_as_open_clip(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_clip(tmp_path / name, seed, steps=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    for file in sorted(path.name for path in (tmp_path / "a").iterdir()):
        first, same, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == same
        assert (first == other) == (file != "open_clip_model.safetensors")
    asked = next(questions(0, 1, "test"))
    [cosine] = load_scorer(str(tmp_path / "a")).score([png(asked.image)], [asked.description])
    assert -1 <= cosine <= 1


@pytest.mark.parametrize("make", [shape_scene, bar_scene])
def test_captions_are_true_or_wrong_in_one_fact(make) -> None:
    for number in range(100):
        draw = random.Random(number)
        scene = make(draw)
        true, wrong = caption(scene, draw), wrong_caption(scene, draw)
        words, used = set(scene.description.strip(".").split()), set(true.strip(".").split())
        assert {word.strip(",") for word in used} <= {word.strip(",") for word in words}
        pairs = list(zip(scene.description.split(), wrong.split(), strict=True))
        assert 1 <= sum(left != right for left, right in pairs) <= 2  # a new count can change a shape's plural


def test_every_caption_fits_the_context() -> None:
    tokenizer = build_caption_tokenizer()
    for asked in questions(0, 200, "sft"):
        ids = tokenizer(asked.description)["input_ids"]
        assert len(ids) <= CONTEXT
        assert tokenizer.convert_ids_to_tokens(ids)[-1] == "<|im_end|>"


@pytest.mark.slow
def test_a_trained_model_tells_right_from_wrong(tmp_path: Path) -> None:
    scorer = load_scorer(str(train_clip(tmp_path, seed=0)))
    asked = list(questions(0, 500, "test"))
    images = [png(question.image) for question in asked]
    right = torch.tensor(scorer.score(images, [question.description for question in asked]))
    others = [
        torch.tensor(scorer.score(images, [asked[(place + shift) % 500].description for place in range(500)]))
        for shift in range(7, 500, 61)
    ]
    best = torch.stack([right > other for other in others[:7]]).all(dim=0)
    assert best.float().mean() >= 0.8
    # as a reward, min(1, cosine / 0.4): near 1 for right descriptions, clearly lower for wrong ones
    assert 0.3 < right.mean() < 0.6
    assert torch.stack(others).mean() < right.mean() - 0.25
