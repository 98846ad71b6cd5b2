"""`python -m pebr.answer`: the model's answer to one question, its sections apart."""

import json
from pathlib import Path

import pytest
import torch

from pebr import answer
from pebr.toy.world import questions
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_model, load_processor

TEXT = (
    "### Image Description:\nA red square.\n\n### Rationales:\nLook left.\n\n### Let's think step by step.\n\n"
    "### Step 1:\nIt is red.\nSo it is.\n\n### Step 2:\nDone.\n\n### The final answer is:\nred"
)


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Path, str]:
    """An image and its question."""
    question = next(iter(questions(0, 1, "rl")))
    question.image.save(tmp_path / "x.png")
    return tmp_path / "x.png", question.problem


def test_the_answer_is_the_models(
    tiny_models: dict[str, Path], asked: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, (image, question) = tiny_models["qwen2_5_vl"], asked
    options = ["--model", str(model), "--image", str(image), "--max-response-tokens", "12", "--json"]
    assert answer.main([*options, question]) == 0
    said = json.loads(capsys.readouterr().out)["text"]
    encoder = Encoder(load_processor(model, 576, 802816))
    prompt = encoder.prompt(question, [answer._read(str(image))])
    with torch.no_grad():
        made = load_model(model).generate(
            input_ids=torch.tensor([prompt.token_ids]),
            pixel_values=prompt.pixel_values,
            image_grid_thw=prompt.image_grids,
            mm_token_type_ids=(torch.tensor([prompt.token_ids]) == encoder.image_token_id).int(),
            suppress_tokens=list(encoder.banned_token_ids),
            do_sample=False,
            max_new_tokens=12,
        )
    assert said == encoder.decode(made[0, len(prompt.token_ids) :].tolist())


def test_sections_are_shown_apart() -> None:
    assert answer.shown(TEXT) == (
        "Image description\n  A red square.\n\nRationales\n  Look left.\n\nStep 1\n  It is red.\n  So it is.\n\n"
        "Step 2\n  Done.\n\nAnswer\n  red"
    )
    assert answer.shown(" no sections ") == "no sections"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image", "nowhere.png"], "--image nowhere.png: No such file"),
        (["--image", __file__], "give an image file"),
        (["--max-prompt-tokens", "3"], "3 are allowed"),
        (["--temperature", "-1"], "temperature"),
    ],
)
def test_a_wrong_input_is_one_line(
    tiny_models: dict[str, Path], options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer.main(["--model", str(tiny_models["qwen2_5_vl"]), *options, "What is it?"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert said in told
