"""The lenient reading of final answers: what it accepts and what it leaves out; the strict reading stays strict."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.vlm.reading import read_answer
from pebr.vlm.response import parse

STEPS = "### Image Description:\nA red bar.\n### Rationales:\nRead it.\n### Step 1:\nIt ends at 7.\n\n"
# a way of writing -> the response; the answer is 7
LENIENT = {
    "bold header": STEPS.replace("### ", "**") + "**The final answer is:** 7",
    "bold around number signs": STEPS + "**### The final answer is:** 7",
    "all bold": STEPS + "**Final Answer: 7**",
    "a bare header": STEPS + "The final answer is: 7",
    "two number signs": STEPS.replace("###", "##") + "## The final answer is: 7",
    "four number signs": STEPS.replace("###", "####") + "#### The final answer is: 7",
    "a line of its own": STEPS + "**Final Answer**\n\n7",
    "another name": STEPS + "### Answer: 7",
    "the answer is": STEPS + "### The answer is: 7",
    "a sentence": STEPS + "So the bar ends there. Therefore, the answer is 7.",
    "a box": STEPS + "So the height is \\boxed{7}.",
    "tags": STEPS + "<answer>7</answer>",
    "an end token": STEPS + "### The final answer is: 7<|im_end|>",
    "an end of text": STEPS + "### The final answer is: 7<|endoftext|>",
    "an invented turn": STEPS + "### The final answer is: 7\nuser\nAnd now?\nassistant\n### The final answer is: 8",
    "zero-width characters": STEPS + "\u200b### The final answer is: 7",
    "full-width number signs": STEPS + "＃＃＃ The final answer is: 7",
    "escaped number signs": STEPS + "\\#\\#\\# The final answer is: 7",
    "HTML": STEPS + "<h3>The final answer is:</h3> 7",
    "after a full stop": STEPS.replace("\n", "") + "### The final answer is: 7",
    "a bullet": STEPS + "### The final answer is: - 7",
    "a dash": STEPS + "### The final answer is: — 7",
    "a heading below": STEPS + "### The final answer is:\n## 7",
    "nothing but the answer": "7",
    "a later section": STEPS + "**Final answer:** 7\n\n### Explanation\nThe bar is red.",
}
NO_ANSWER = [
    "",
    "The image shows a red bar.",
    STEPS,
    "Answer the question.",
    "### Answer the question in one word",
    "**Final Answer:**",
    "user\nWhat is next?",
]


@pytest.mark.parametrize("way", LENIENT)
def test_the_answer_is_found(way: str) -> None:
    assert read_answer(LENIENT[way]).text.strip("*$. ").replace("So the height is \\boxed{7}", "7") == "7"


@pytest.mark.parametrize("way", LENIENT)
def test_what_the_strict_reading_does_not_find_is_marked(way: str) -> None:
    final = read_answer(LENIENT[way])
    assert final.strict is (final.text == parse(LENIENT[way]).answer)
    assert read_answer(LENIENT[way], "strict") == (parse(LENIENT[way]).answer, True)


@pytest.mark.parametrize("response", NO_ANSWER)
def test_no_answer_is_invented(response: str) -> None:
    assert read_answer(response).text == ""


def test_a_long_explanation_is_not_part_of_the_answer() -> None:
    explanation = "This is so because the bar ends there. " * 40
    assert read_answer(f"**Answer:** 7\n\n{explanation}").text == "7"
    assert read_answer(f"**Answer:** {explanation}\n\nIt is \\boxed{{7}}.").text == "It is \\boxed{7}."


def test_the_last_answer_counts() -> None:
    assert read_answer("**Answer:** 6\n\nLet me check.\n\n**Answer:** 7").text == "7"
    assert read_answer("The answer is 6. No, the answer is 7.").text == "7"


@given(st.text(max_size=200))
def test_an_exact_answer_is_read_alike(answer: str) -> None:
    response = f"### The final answer is: {answer}"
    final = read_answer(response)
    assert final.strict is (final.text == parse(response).answer)


HOSTILE = [
    " ",
    "\n",
    "#",
    "*",
    "> ",
    "- ",
    "# ",
    "<answer>",
    "answer is ",
    "\\boxed{",
    "\nuser",
    "the ",
    "**",
    "## a\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_time_is_linear_in_the_length(piece: str) -> None:
    for response in (piece * (200_000 // len(piece)), "### The final answer is:" + piece * (200_000 // len(piece))):
        started = time.process_time()
        read_answer(response)
        assert time.process_time() - started < 2.0
