"""The prompt: where images go, and which questions cannot be asked."""

import pytest

from pebr.vlm.prompt import INSTRUCTIONS, PromptError, user_turn


def parts(problem: str, images: int) -> list[str]:
    return [part.get("text", "<image>") for part in user_turn(problem, images)[0]["content"]]


def test_the_image_stands_where_the_placeholder_stands() -> None:
    assert parts("Is <image> left of <image>?", 2) == [f"{INSTRUCTIONS}Is ", "<image>", " left of ", "<image>", "?"]


@pytest.mark.parametrize("problem", ["<image>What?", "<image>\nWhat?", "What?"])
def test_a_line_break_or_a_missing_placeholder_changes_nothing(problem: str) -> None:
    assert parts(problem, 1) == [INSTRUCTIONS, "<image>", "What?"]


def test_a_question_without_an_image_is_text() -> None:
    assert parts("What is 2 + 2?", 0) == [f"{INSTRUCTIONS}What is 2 + 2?"]


@pytest.mark.parametrize(
    ("problem", "images", "reason"),
    [
        ("<image>What?", 2, "1 <image> placeholders and 2 images"),
        ("<image>What?", 0, "1 <image> placeholders and 0 images"),
        ("<image> \n", 1, "empty"),
        ("", 0, "empty"),
        ("What?<|image_pad|>", 0, "special token"),
    ],
)
def test_a_question_that_cannot_be_asked_says_why(problem: str, images: int, reason: str) -> None:
    with pytest.raises(PromptError, match=reason):
        user_turn(problem, images)
