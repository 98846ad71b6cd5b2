"""The tiny model: loads like any other, speaks Qwen's chat format, is the same for the same seed."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pebr.toy.vlm import build_model, build_tokenizer
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor

TINY = {"width": 64, "layers": 1, "vision_width": 32, "vision_layers": 1}
ASKED = next(questions(0, 1, "rl"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl", "qwen3_5"])
def test_loads_and_sees_the_picture(family: Any, tmp_path: Path) -> None:
    build_model(tmp_path, 0, family, **TINY)
    model, encoder = load_model(tmp_path), Encoder(load_processor(tmp_path))
    assert model.config.model_type == family

    def logits(image: Any) -> torch.Tensor:
        prompt = encoder.prompt(ASKED.problem, [image])
        ids = torch.tensor([prompt.token_ids])
        assert (ids == encoder.image_token_id).sum() == 16
        with torch.no_grad():
            return model(
                input_ids=ids,
                pixel_values=prompt.pixel_values,
                image_grid_thw=prompt.image_grids,
                mm_token_type_ids=(ids == encoder.image_token_id).long(),
            ).logits[0, -1]

    seen = logits(ASKED.image)
    assert seen.isfinite().all()
    assert not torch.allclose(seen, logits(ASKED.image.transpose(0)), atol=1e-5)


def test_same_seed_same_bytes_and_nothing_else_disturbed(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build_model(tmp_path / name, seed, **TINY)
    assert torch.equal(torch.random.get_rng_state(), state)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert {"config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"} <= set(files)
    for file in files:
        first, same, other = ((tmp_path / name / file).read_bytes() for name in "abc")
        assert first == same
        assert (first == other) == (file != "model.safetensors")


@given(text=st.text())
def test_any_text_survives_its_tokens(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_words_headers_and_corners_are_one_token_each(tokenizer: Any) -> None:
    lengths = []
    for asked in questions(9, 100, "test"):
        ids = tokenizer(asked.response, add_special_tokens=False)["input_ids"]
        pieces = [tokenizer.decode([token]) for token in ids]
        assert all(re.fullmatch(r"\n*### [^#]*[:.]\n?| ?[A-Za-z-]+| ?\d|[ .,+=]+|\n+", piece) for piece in pieces), (
            pieces
        )
        lengths.append(len(ids))
    assert 25 < sum(lengths) / len(lengths) < 50


def test_chat_is_rendered_as_qwen_does(tmp_path: Path) -> None:
    processor = load_processor(build_model(tmp_path, 0, **TINY))
    turn = {"role": "user", "content": [{"type": "text", "text": "Why "}, {"type": "image"}]}
    answer = {"role": "assistant", "content": "So."}
    start = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nWhy <|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True) == start
    assert processor.apply_chat_template([turn, answer], tokenize=False) == start + "So.<|im_end|>\n"
    own = {"role": "system", "content": "Be brief."}
    assert processor.apply_chat_template([own, turn], tokenize=False).startswith(
        "<|im_start|>system\nBe brief.<|im_end|>"
    )
