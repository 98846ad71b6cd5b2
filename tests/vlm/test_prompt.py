"""The prompt: where images go, and which questions cannot be asked."""

import pytest

from pebr.vlm.prompt import INSTRUCTIONS, PromptError, conversation, user_turn, without_instructions


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
    assert without_instructions(block + question) == question
    assert without_instructions(f"<image>{block}{question}") == f"<image>{question}"
    assert without_instructions(f"{block}<image>\n{question}") == f"<image>\n{question}"


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
    assert without_instructions(question) == question


@pytest.mark.parametrize("rest", ["", "\n\n", "\nQuestion:", "\nQuestion: <image>"])
def test_a_block_without_a_question_cannot_be_asked(rest: str) -> None:
    with pytest.raises(PromptError, match="without a question"):
        without_instructions(f"What is it?\n{HEADERS}{rest}")


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
