"""The chat template of a server gives the text that the encoder gives, whatever the prompt and the message."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pebr.errors import InputError
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from pebr.vlm.prompt import TEMPLATE
from pebr.vlm.serving import own_chat_template, serving_template

PICTURE = {"type": "image"}
PROMPTS = (TEMPLATE, 'Sag "ehrlich", {% if x %} \\n {{ y }} 𝄞:\n{question}\nEnde\n', "{question}")


def text(written: str) -> dict[str, str]:
    return {"type": "text", "text": written}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    ("turns", "contents"),
    [
        (["What is it?"], ["What is it?"]),
        (["<image>\nWhat is it? "], [[PICTURE, text("\nWhat is it? ")]]),
        ([" See <image>\nand\n<image>"], [[text(" See "), PICTURE, text("\nand\n"), PICTURE]]),
        (["<image>One?", "two", "Three?"], [[PICTURE, text("One?")], "two", " Three?\n"]),
    ],
)
def test_a_message_is_asked_as_the_encoder_asks_it(
    model_directory: Path, prompt: str, turns: list[str], contents: list[Any]
) -> None:
    encoder = Encoder(load_processor(model_directory), prompt)
    images = [Image.new("RGB", (100, 60), "red")] * sum(turn.count("<image>") for turn in turns)
    expected = encoder.prompt(turns[-1], images, turns[:-1])
    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]
    processor = encoder.processor
    template = serving_template(own_chat_template(model_directory), prompt)
    asked = processor.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert asked == expected.text
    ids = processor(text=[asked], images=list(expected.images) or None, do_resize=False)["input_ids"]
    assert list(ids[0]) == expected.token_ids


def test_the_models_own_template_is_found_in_every_layout(model_directory: Path, tmp_path: Path) -> None:
    own = (model_directory / "chat_template.jinja").read_text()
    assert own_chat_template(model_directory) == own
    for name in ("chat_template.json", "tokenizer_config.json"):  # as Qwen's repositories have it
        (tmp_path / name).write_text(json.dumps({"chat_template": own}))
        assert own_chat_template(tmp_path) == own
        (tmp_path / name).unlink()
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(InputError, match="no chat template"):
        own_chat_template(tmp_path)
