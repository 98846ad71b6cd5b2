"""The parser of response sections: which texts it accepts, which problems it reports."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.toy.world import questions
from pebr.vlm.prompt import INSTRUCTIONS
from pebr.vlm.response import Problem, parse

GOOD = """### Image Description:
A red circle.

### Rationales:
Look closely.

### Let's think step by step.

### Step 1:
There is one.

### Step 2:
So it is one.

### The final answer is:
1
"""


def test_all_sections_are_read() -> None:
    response = parse(GOOD)
    assert response.description == "A red circle."
    assert response.rationales == "Look closely."
    assert response.steps == ("There is one.", "So it is one.")
    assert response.answer == "1"
    assert response.problems == ()
    assert response.well_formed


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace(":\n", ": "),  # content on the header's line
        GOOD.replace("\n", " "),  # all on one line
        GOOD.replace("\n", "\r\n"),
        GOOD.lower(),
        GOOD.upper(),
        GOOD.replace("### ", "###"),
        GOOD.replace("### ", "###   "),
        GOOD.replace("### Image Description:", "### **Image Description:**"),
        GOOD.replace("### The final answer is:", "### **The final answer is**:"),
        GOOD.replace("Image Description:", "image   description"),
        GOOD.replace("Let's", "Let’s"),
        GOOD.replace("step by step.", "step by step:"),
        "\n\n  " + GOOD + "  \n",
        GOOD.replace(":\n", "：\n"),  # full-width colons
        GOOD.replace("### ", "###\u00a0").replace("Step ", "Step\u00a0"),
        "\ufeff" + GOOD,
    ],
)
def test_case_spacing_and_marks_do_not_matter(text: str) -> None:
    response = parse(text)
    assert response.problems == ()
    assert response.answer == "1"
    assert response.description.casefold() == "a red circle."


DEPARTURES = {
    "nothing at all": ("", {Problem.NO_DESCRIPTION, Problem.NO_RATIONALES, Problem.NO_THINKING, Problem.NO_STEPS,
                            Problem.NO_ANSWER}),
    "no description": (GOOD.replace("### Image Description:\nA red circle.\n", ""), {Problem.NO_DESCRIPTION}),
    "no rationales": (GOOD.replace("### Rationales:\nLook closely.\n", ""), {Problem.NO_RATIONALES}),
    "no thinking header": (GOOD.replace("### Let's think step by step.\n", ""), {Problem.NO_THINKING}),
    "no answer": (GOOD.partition("### The final")[0], {Problem.NO_ANSWER}),
    "empty description": (GOOD.replace("A red circle.", ""), {Problem.EMPTY_DESCRIPTION}),
    "a description of a full stop": (GOOD.replace("A red circle.", "."), {Problem.EMPTY_DESCRIPTION}),
    "rationales of dashes": (GOOD.replace("Look closely.", "- - -"), {Problem.EMPTY_RATIONALES}),
    "a step of nothing to be seen": (GOOD.replace("There is one.", "\u200b\u2060"), {Problem.EMPTY_STEP}),
    "an answer of a full stop": (GOOD.rpartition("1")[0] + ".", {Problem.EMPTY_ANSWER}),
    "empty rationales": (GOOD.replace("Look closely.", " "), {Problem.EMPTY_RATIONALES}),
    "empty step": (GOOD.replace("There is one.", ""), {Problem.EMPTY_STEP}),
    "empty answer": (GOOD.rpartition("1")[0], {Problem.EMPTY_ANSWER}),
    "answer twice": (GOOD + "### The final answer is: 2", {Problem.REPEATED_ANSWER}),
    "description twice": ("### Image Description: x\n" + GOOD, {Problem.REPEATED_DESCRIPTION}),
    "step twice": (GOOD.replace("Step 2", "Step 1"), {Problem.REPEATED_STEP}),
    "a step left out": (GOOD.replace("Step 2", "Step 3"), {Problem.STEP_NUMBERS}),
    "text before": ("Sure!\n" + GOOD, {Problem.TEXT_BEFORE}),
    "a section of its own": (GOOD + "### Note:\nthat is all", {Problem.UNKNOWN_SECTION}),
    "the prompt's words": (GOOD.replace("Look closely.", "Add further steps as needed."), {Problem.PROMPT_ECHO}),
    "a chat mark": (GOOD + "<|im_start|>user", {Problem.PROMPT_ECHO}),
}  # fmt: skip


@pytest.mark.parametrize("name", DEPARTURES)
def test_each_departure_is_named_and_no_other(name: str) -> None:
    text, problems = DEPARTURES[name]
    assert set(parse(text).problems) == problems


def test_reversed_sections_are_out_of_order() -> None:
    sections = GOOD.split("### ")[1:]
    assert Problem.ORDER in parse("".join(f"### {section}\n" for section in reversed(sections))).problems


def test_an_echoed_prompt_before_a_good_response_is_told_apart() -> None:
    response = parse(INSTRUCTIONS + GOOD)
    assert Problem.PROMPT_ECHO in response.problems
    assert Problem.REPEATED_ANSWER in response.problems
    assert response.answer == "1"
    assert response.description == "A red circle."


def test_an_echoed_prompt_alone_has_no_content() -> None:
    response = parse(INSTRUCTIONS)
    assert {Problem.PROMPT_ECHO, Problem.EMPTY_RATIONALES, Problem.EMPTY_DESCRIPTION} <= set(response.problems)


@pytest.mark.parametrize(
    "line",
    ["Image Description: x", "## Image Description: x", "#### Image Description: x", "### Image Descriptions: x",
     "### Description: x", '"### Image Description: x"', "x### Image Description: x"],
)  # fmt: skip
def test_what_is_no_header(line: str) -> None:
    assert parse(line).description == ""


def test_the_last_answer_counts_and_ends_at_the_next_heading() -> None:
    assert parse("### The final answer is: 7\n### The final answer is:\n8\n### Explanation\n9").answer == "8"


@pytest.mark.parametrize("answer", [".5", "-.5", "∞", "∅", "7", "π"])
def test_an_answer_is_kept_whole(answer: str) -> None:
    assert parse(f"### The final answer is {answer}").answer == answer
    assert parse(f"### The final answer is: {answer}").answer == answer


def test_bold_in_the_answer_stays_with_the_answer() -> None:
    assert parse("### The final answer is: **7**").answer == "**7**"
    assert parse("### **The final answer is:** 7").answer == "7"


def test_a_header_in_the_middle_of_a_word_or_a_quote_is_content() -> None:
    response = parse(GOOD.replace("Look closely.", 'I write "### Step 9:" later'))
    assert response.well_formed
    assert '"### Step 9:"' in response.rationales


def test_the_tiny_worlds_teacher_keeps_the_format() -> None:
    for question in questions(0, 40, "sft"):
        response = parse(question.response)
        assert response.problems == ()
        assert response.description == question.description
        assert response.answer == question.answer


sections = st.sampled_from(
    ["### Image Description:", "### Rationales:", "### Let's think step by step.", "### Step 1:", "### Step 2:",
     "### The final answer is:", "### Other", "text", "\n", " ", "7"]
)  # fmt: skip


@given(st.lists(sections, max_size=20).map("\n".join))
def test_well_formed_means_each_header_once_in_order(text: str) -> None:
    response = parse(text)
    headers = [line.strip() for line in text.splitlines() if line.strip().startswith("###")]
    order = ["### Image Description:", "### Rationales:", "### Let's think step by step.", "### Step 1:"]
    right = headers in ([*order, "### The final answer is:"], [*order, "### Step 2:", "### The final answer is:"])
    if response.well_formed:
        assert right
        assert response.description
        assert response.answer
    elif right:
        assert {str(problem).rpartition(" ")[2] for problem in response.problems} <= {"empty", "section"}


@given(st.text(max_size=500))
def test_any_text_is_taken(text: str) -> None:
    response = parse(text)
    assert response.answer in text or "\r" in text


@pytest.mark.parametrize(
    "text",
    ["[" * 10**6, "#" * 10**6, " ### " * 200_000, "### Image Description " * 50_000, "### image" + " " * 10**6,
     "\n" * 10**6, "### *_ " * 140_000, "### Step " + "9" * 10**6],
)  # fmt: skip
def test_time_grows_with_the_length_only(text: str) -> None:
    started = time.process_time()
    parse(text)
    assert time.process_time() - started < 5.0
