"""The prompt: where images go, and which questions cannot be asked."""

from pathlib import Path

import pytest

from pebr.errors import InputError
from pebr.vlm.prompt import (
    INSTRUCTIONS,
    TEMPLATE,
    PromptError,
    conversation,
    read_template,
    split_instructions,
    template_of,
    user_turn,
)


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


HEADERS = (
    "### Image Description:\n### Rationales:\n### Let's think step by step.\n### Step 1:\n### Step 2:\n...\n"
    "### The final answer is: "
)


@pytest.mark.parametrize(
    "block",
    [
        INSTRUCTIONS,
        f"Do this, then that, and 'the final answer is: xxx.\n\nSections, separated by ###:\n{HEADERS}\n\nQuestion: ",
        f"{HEADERS}\n\n**Question:** ",
        f"{HEADERS}\n",
        f"{HEADERS.replace('###', '##')}\nThe question is: ",
        f"Sections are {HEADERS.replace(chr(10), ' ')} Question:\n",
        f"{HEADERS}\nQuestion: {HEADERS}\nQuestion: ",
        HEADERS.upper() + "\nQUESTION: ",
    ],
)
@pytest.mark.parametrize("question", ["What is it?", "Solve:\n\n1 + 1 = ?\n(A) 1\n(B) 2", "Which question: 1 or 2?"])
def test_a_block_of_instructions_is_removed_and_its_image_kept(block: str, question: str) -> None:
    assert split_instructions(block + question)[1] == question
    assert split_instructions(f"<image>{block}{question}")[1] == f"<image>{question}"
    assert split_instructions(f"{block}<image>\n{question}")[1] == f"<image>\n{question}"


@pytest.mark.parametrize(
    "question",
    [
        "What colour is the car?",
        "What does the header ### Image Description: mean?",
        "Is ### Step 1 or ### Step 2 right? The final answer is one of them.",
        "Question: what is it?",
    ],
)
def test_a_question_without_a_block_is_left_as_it_is(question: str) -> None:
    assert split_instructions(question) == ("", question)


@pytest.mark.parametrize("before", ["", "<image>", "<image>\n"])
def test_a_block_of_instructions_can_be_the_prompt(before: str) -> None:
    """A question is then asked with the text that it was published with."""
    published = f"Describe, then answer.\n{HEADERS}\n\nQuestion: What is it?"
    block, question = split_instructions(before + published)
    asked = user_turn(question.replace("<image>", ""), 0, template_of(block))
    assert asked[0]["content"] == [{"type": "text", "text": published}]


@pytest.mark.parametrize("block", ["Use {question} here:\n", "<|im_end|>\n"])
def test_a_block_that_is_no_template_is_refused(block: str) -> None:
    with pytest.raises(InputError, match="the instructions of the data: give a prompt with"):
        template_of(block)


@pytest.mark.parametrize("rest", ["", "\n\n", "\nQuestion:", "\nQuestion: <image>"])
def test_a_block_without_a_question_cannot_be_asked(rest: str) -> None:
    with pytest.raises(PromptError, match="without a question"):
        split_instructions(f"What is it?\n{HEADERS}{rest}")


def test_every_question_of_a_conversation_is_asked_in_the_same_way() -> None:
    turns = ["<image>One?", "1", "Two of <image>?", "2", "Three?"]
    messages = conversation(turns, 2)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert messages[0] == user_turn(turns[0], 1)[0]
    assert messages[2] == user_turn(turns[2], 1)[0]
    assert messages[4] == user_turn(turns[4], 0)[0]
    assert conversation(["One?", "1", "Two?"], 2)[0] == user_turn("One?", 2)[0]
    assert conversation(["One?"], 1) == user_turn("One?", 1)


@pytest.mark.parametrize(("turns", "images"), [(["<image>One?", "1", "Two?"], 2), (["One?", "<|im_end|>", "Two?"], 0)])
def test_a_conversation_that_cannot_be_asked_says_why(turns: list[str], images: int) -> None:
    with pytest.raises(PromptError, match=r"placeholders and 2 images|special token"):
        conversation(turns, images)


def test_a_template_stands_around_the_question() -> None:
    template = "First this. {question} Then that."
    parts_of = [part.get("text", "<image>") for part in user_turn("Is <image> red?", 1, template)[0]["content"]]
    assert parts_of == ["First this. Is ", "<image>", " red? Then that."]
    assert [part.get("text") for part in user_turn("What <image>", 1, template)[0]["content"]][-1] == " Then that."
    assert user_turn("Red?", 0, TEMPLATE) == user_turn("Red?", 0)


def test_a_model_without_a_template_has_ours(tmp_path: Path) -> None:
    assert read_template(tmp_path) == TEMPLATE == INSTRUCTIONS + "{question}"
    (tmp_path / "prompt.txt").write_text("{question}!")
    assert read_template(tmp_path) == read_template(tmp_path / "prompt.txt") == "{question}!"


@pytest.mark.parametrize("text", ["no question", "{question} {question}", "<image>{question}", "<|im_end|>{question}"])
def test_a_wrong_template_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(InputError, match="once"):
        read_template(tmp_path / "x.txt")
    with pytest.raises(InputError, match="not a prompt"):
        read_template(tmp_path / "none.txt")
