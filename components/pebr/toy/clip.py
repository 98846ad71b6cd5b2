"""A tiny CLIP for the toy data, trained on the spot and saved in the open_clip format.

Contrastive training (arXiv 2103.00020) on images of all splits, each with new captions at every training step. Two
details fit the model to its use as a reward, min(1, cosine / 0.4):

- The cosine of a right description is pulled to a value slightly below 0.4, so that the reward does not saturate.
- Each image is also contrasted with its own caption with one fact changed, so that a partly wrong description scores
  clearly less. Where a world says what such a caption is worth, its cosine is pulled to this share of the right one.
"""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

import pebr.vlm.torchvision_operators  # noqa: F401 - makes open_clip importable
from pebr.toy.formats import Ask
from pebr.toy.scenes import COLOURS, HIGHEST_BAR, MOST_SHAPES, SHAPES, SIDE, Bar, Scene, bar_scene, shape_scene
from pebr.toy.vlm import build_tokenizer
from pebr.toy.world import questions

STEPS = 400
IMAGES = 4000
BATCH = 64  # images per training step
SHAPES_SHARE = 0.6  # of the images; the others are bar charts
LEARNING_RATE = 1.5e-3
LOGIT_SCALE = 40.0  # fixed; so cosines of right and wrong captions differ by a small multiple of 1 / 40
RIGHT_COSINE = 0.38
ANCHOR_WEIGHT = 20.0
CONTEXT = 24  # tokens; the longest description has 18
WIDTH = 128  # of both towers and of the features, a multiple of `HEAD`
HEAD = 32  # width of an attention head

PREPROCESSING: dict[str, Any] = {"size": SIDE, "mean": [0.85] * 3, "std": [0.25] * 3, "interpolation": "bicubic"}


class Shown(NamedTuple):
    """What the model learns from: how to draw an image, and how to word it; each call may do so differently."""

    draw: Callable[[random.Random], Image.Image]
    caption: Callable[[random.Random], str]  # a true caption
    wrong: Callable[[random.Random], str]  # one that the true one shall beat


class Lesson(NamedTuple):
    """A tiny world as the model learns it."""

    ask: Ask  # makes the questions whose words the tokenizer knows
    show: Callable[[random.Random], Shown]
    context: int = CONTEXT
    width: int = WIDTH
    worth: Callable[[str, str], float] | None = None  # of the wrong caption, 0 to 1, given both; None contrasts it


def train_clip(directory: Path | str, seed: int, steps: int = STEPS, lesson: Lesson | None = None) -> Path:
    """Train the model and write it with its configuration and tokenizer; the same seed gives the same bytes."""
    import open_clip
    from safetensors.torch import save_file

    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lesson = lesson or Lesson(questions, show)
    tokenizer = build_caption_tokenizer(lesson.ask)
    config = _model_config(tokenizer, lesson)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**config)
    model.logit_scale.data.fill_(math.log(LOGIT_SCALE))
    _train(model, tokenizer, seed, steps, lesson)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        directory / "open_clip_model.safetensors",
    )
    tokenizer.save_pretrained(str(directory))
    settings = {"model_cfg": config, "preprocess_cfg": PREPROCESSING}
    (directory / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return directory


def build_caption_tokenizer(ask: Ask = questions) -> Any:
    """The tokenizer of the toy model, which adds the end token after each text. CLIP pools at this token."""
    from tokenizers import processors

    tokenizer = build_tokenizer(ask=ask)
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {tokenizer.eos_token}", special_tokens=[(tokenizer.eos_token, end)]
    )
    return tokenizer


def show(draw: random.Random) -> Shown:
    """A random scene of the tiny world."""
    scene: Scene[Any] = (shape_scene if draw.random() < SHAPES_SHARE else bar_scene)(draw)
    return Shown(scene.draw, partial(caption, scene), partial(wrong_caption, scene))


def caption(scene: Scene[Any], draw: random.Random) -> str:
    """A true caption: the description, in 30 % of cases in another order, in 15 % also without one part."""
    parts = list(scene.parts)
    way = draw.random()
    if way < 0.3:
        draw.shuffle(parts)
    if way < 0.15:
        parts.pop()
    return Scene(tuple(parts)).description


def wrong_caption(scene: Scene[Any], draw: random.Random) -> str:
    """The description with one fact changed."""
    parts = list(scene.parts)
    place = draw.randrange(len(parts))
    used = {part.colour for part in parts}
    part = parts[place]
    facts: dict[str, Sequence[object]] = {"colour": [colour for colour in COLOURS if colour not in used]}
    if isinstance(part, Bar):
        facts["value"] = range(1, HIGHEST_BAR + 1)
    else:
        facts |= {"count": range(1, MOST_SHAPES + 1), "shape": SHAPES}
    changes = [
        (name, draw.choice([value for value in values if value != getattr(part, name)]))
        for name, values in facts.items()
    ]
    parts[place] = replace(part, **dict([draw.choice(changes)]))
    return Scene(tuple(parts)).description


def _model_config(tokenizer: Any, lesson: Lesson) -> dict[str, Any]:
    """The configuration of a small open_clip model; a patch is one cell of the grid."""
    return {
        "embed_dim": lesson.width,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": lesson.width, "head_width": HEAD, "patch_size": 28},
        "text_cfg": {
            "context_length": lesson.context,
            "vocab_size": len(tokenizer),
            "hf_tokenizer_name": "local",  # any name makes open_clip read the tokenizer from the model's directory
            "width": lesson.width,
            "heads": lesson.width // HEAD,
            "layers": 2,
            "pad_id": tokenizer.pad_token_id,
            "eos_id": tokenizer.eos_token_id,
            "pool_type": "eos",
        },
    }


def _train(model: Any, tokenizer: Any, seed: int, steps: int, lesson: Lesson) -> None:
    """Contrast each image with all captions of its batch, and each true caption with all images."""
    model.logit_scale.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps, pct_start=0.1)
    target = torch.arange(BATCH)
    draw = random.Random(f"clip/{seed}")
    shown = [lesson.show(draw) for _ in range(IMAGES)]
    images = torch.from_numpy(np.stack([np.asarray(scene.draw(draw)) for scene in shown]))  # uint8
    model.train()
    for _ in range(steps):
        chosen = draw.sample(range(IMAGES), BATCH)
        captions = [shown[index].caption(draw) for index in chosen] + [shown[index].wrong(draw) for index in chosen]
        tokens = tokenizer(
            captions, return_tensors="pt", padding="max_length", max_length=lesson.context, truncation=True
        ).input_ids
        features = normalize(model.encode_image(_pixels(images[chosen])), dim=-1)  # (BATCH, D)
        texts = normalize(model.encode_text(tokens), dim=-1)  # (2 BATCH, D): true captions, then wrong captions
        cosines = features @ texts.T  # (BATCH, 2 BATCH)
        logits = LOGIT_SCALE * (cosines if lesson.worth is None else cosines[:, :BATCH])
        contrast = (cross_entropy(logits, target) + cross_entropy(logits[:, :BATCH].T, target)) / 2
        loss = contrast + ANCHOR_WEIGHT * (cosines.diagonal() - RIGHT_COSINE).square().mean()
        if lesson.worth is not None:
            worth = torch.tensor([lesson.worth(*pair) for pair in zip(captions[:BATCH], captions[BATCH:], strict=True)])
            loss += ANCHOR_WEIGHT * (cosines[:, BATCH:].diagonal() - RIGHT_COSINE * worth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def _pixels(images: Tensor) -> Tensor:
    """Preprocess images (B, SIDE, SIDE, 3) by `PREPROCESSING`: (B, 3, SIDE, SIDE)."""
    mean, std = (torch.tensor(PREPROCESSING[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (images.permute(0, 3, 1, 2).float() / 255 - mean) / std
