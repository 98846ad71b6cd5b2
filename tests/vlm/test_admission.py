"""The one check of questions: the same reasons with and without pixels."""

from pathlib import Path

import pytest
from PIL import Image

from pebr.data.readers import Fault
from pebr.toy.formats import png
from pebr.vlm.admission import BAD_IMAGE, NOT_ASKABLE, TOO_LONG, admit, encode, image_bytes, prompt_tokens
from pebr.vlm.encoding import Encoder, Prompt
from pebr.vlm.loading import load_processor

IMAGE = png(Image.effect_noise((112, 112), 50).convert("RGB"))


@pytest.fixture(scope="module")
def encoder(tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(tiny_models["qwen2_5_vl"]))


def test_a_good_question_is_encoded(encoder: Encoder) -> None:
    prompt = admit("<image>How many?", [IMAGE], encoder, 200)
    assert isinstance(prompt, Prompt)
    assert prompt.token_ids == encode("<image>How many?", [IMAGE], encoder, 200).token_ids
    assert len(prompt.token_ids) == prompt_tokens("<image>How many?", [IMAGE], encoder)


@pytest.mark.parametrize(
    ("problem", "images", "kind"),
    [
        ("<image>  ", [IMAGE], NOT_ASKABLE),
        ("<image>How many?", [], NOT_ASKABLE),
        ("<image>How many?", [b""], BAD_IMAGE),
        ("<image>How many?", [b"not an image"], BAD_IMAGE),
        ("<image>" + "How many? " * 100, [IMAGE], TOO_LONG),
    ],
)
def test_every_way_gives_the_same_reason(encoder: Encoder, problem: str, images: list[bytes], kind: str) -> None:
    for way in (prompt_tokens, encode, admit):
        fault = way(problem, images, encoder, 200)
        assert isinstance(fault, Fault)
        assert fault.kind == kind


def test_broken_pixels_are_found_unless_the_prompt_is_too_long_anyway(encoder: Encoder) -> None:
    broken, problem = IMAGE[:-200], "<image>How many?"
    assert admit(problem, [broken], encoder, 200).kind == encode(problem, [broken], encoder, 200).kind == BAD_IMAGE
    assert isinstance(prompt_tokens(problem, [broken], encoder, 200), int)
    assert admit(problem, [broken], encoder, 20) == Fault(TOO_LONG, "34 prompt tokens, at most 20 are asked")
    assert encode(problem, [broken], encoder, 20).kind == BAD_IMAGE


def test_a_row_without_images_or_bytes() -> None:
    assert image_bytes(None) == []
    assert image_bytes([{"bytes": None}, {"bytes": b"a"}]) == [b"", b"a"]
