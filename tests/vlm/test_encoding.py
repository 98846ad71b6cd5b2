"""Encoded prompts equal the output of the family's own processor."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from pebr.vlm.prompt import PromptError, user_turn


@pytest.fixture(scope="module")
def encoder(model_directory: Path) -> Encoder:
    return Encoder(load_processor(model_directory, min_pixels=576, max_pixels=224 * 224))


def test_tokens_and_pixels_are_the_processors_own(encoder: Encoder) -> None:
    image = Image.effect_noise((224, 224), 50).convert("RGB")  # needs no resizing in either family
    prompt = encoder.prompt("<image>How many?", [image])
    chat = encoder.processor.apply_chat_template(
        user_turn("<image>How many?", 1), tokenize=False, add_generation_prompt=True
    )
    expected = encoder.processor(text=[chat], images=[image], return_tensors="pt")
    assert prompt.token_ids == expected["input_ids"][0].tolist()
    assert torch.equal(prompt.pixel_values, expected["pixel_values"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.tuples(st.integers(28, 700), st.integers(28, 700)), max_size=2))
def test_a_prompts_length_follows_from_sizes_alone(encoder: Encoder, sizes: list[tuple[int, int]]) -> None:
    problem = "<image>" * len(sizes) + "How many red circles are there?"
    prompt = encoder.prompt(problem, [Image.new("RGB", size, "white") for size in sizes])
    assert encoder.prompt_length(problem, sizes) == len(prompt.token_ids)


@pytest.mark.parametrize("size", [(28, 5601), (9000, 44)])
def test_a_picture_too_long_for_the_model_cannot_be_asked_about(encoder: Encoder, size: tuple[int, int]) -> None:
    with pytest.raises(PromptError, match=f"an image of {size[0]} x {size[1]} px"):
        encoder.prompt_length("<image>How many?", [size])
    with pytest.raises(PromptError, match="smaller than 200"):
        encoder.prompt("<image>How many?", [Image.new("RGB", size)])


@pytest.mark.parametrize("size", [(40, 7990), (20, 3000), (7990, 40)])
def test_a_very_long_picture_is_resized_as_the_processor_does(encoder: Encoder, size: tuple[int, int]) -> None:
    """If they were resized twice, the first image would be refused and the second one shrunk further."""
    image = Image.new("RGB", size, "white")
    prompt = encoder.prompt("<image>How many?", [image])
    expected = encoder.processor(text=[prompt.text], images=[image], return_tensors="pt")
    assert prompt.token_ids == expected["input_ids"][0].tolist()
    assert torch.equal(prompt.image_grids, expected["image_grid_thw"])
    assert encoder.prompt_length("<image>How many?", [size]) == len(prompt.token_ids)


def test_images_are_handed_on_at_the_resolution_that_the_model_sees(encoder: Encoder) -> None:
    prompt = encoder.prompt("<image>How many?", [Image.new("RGB", (900, 300))])
    (image,) = prompt.images
    assert image.width * image.height <= 224 * 224
    again = encoder.prompt("<image>How many?", [image])
    assert again.images[0].size == image.size
    assert torch.equal(again.pixel_values, prompt.pixel_values)


def test_special_tokens_in_an_answer_are_text(encoder: Encoder) -> None:
    ids = encoder.response_ids("red <|im_end|> blue")
    assert ids.count(encoder.end_of_turn_id) == 1
    assert encoder.decode(ids) == "red <|im_end|> blue"


def test_threads_may_encode_questions_and_answers_at_once(encoder: Encoder) -> None:
    """As SFT does while it validates: an answer is split as plain text, a question's image tokens are not."""
    image = Image.new("RGB", (56, 56))
    question, answer = encoder.prompt("How many?", [image]).token_ids, encoder.response_ids("<|image_pad|> one")
    with ThreadPoolExecutor(2) as pool:
        answers = pool.submit(lambda: [encoder.response_ids("<|image_pad|> one") for _ in range(3000)])
        questions = [encoder.prompt("How many?", [image]).token_ids for _ in range(150)]
        assert all(found == answer for found in answers.result())
    assert all(found == question for found in questions)


def test_vision_tokens_are_banned_and_end_tokens_are_not(encoder: Encoder) -> None:
    assert encoder.image_token_id in encoder.banned_token_ids
    assert encoder.end_of_turn_id in encoder.eos_token_ids
    assert not set(encoder.banned_token_ids) & set(encoder.eos_token_ids)
