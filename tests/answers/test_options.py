"""The options that questions list, and the option that an answer picks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.answers.options import options_in, options_of, read_pick, read_picks

QUESTIONS = {
    "brackets, a line each": ("How many?\nChoices:\n(A) 12\n(B) 14\n(C) 16", {"A": "12", "B": "14", "C": "16"}),
    "full stops": ("How many?\nA. 12\nB. 14", {"A": "12", "B": "14"}),
    "a colon in the middle of a line makes no label": ("Class A: 12 pupils, B: 14. How many?", {}),
    "a full stop in the middle of a line makes no label": ("He goes to A. Then to B. Then to C. How far is it?", {}),
    "closing brackets": ("Which?\nA) red circle\nB) blue square", {"A": "red circle", "B": "blue square"}),
    "on one line": ("How many? (A) 12 (B) 14 (C) 16", {"A": "12", "B": "14", "C": "16"}),
    "options of several words": ("Which? (A) the red bar, (B) the blue bar", {"A": "the red bar", "B": "the blue bar"}),
    "the next paragraph is not an option": (
        "How many?\n(A) 12\n(B) 14\n\nAnswer with a letter.",
        {"A": "12", "B": "14"},
    ),
    "points of a figure are not options": ("What is the length of AB if C. is the centre?", {}),
    "one label is not a list": ("Point (A) is at the top. How far is it?", {}),
    "the last list counts": ("(A) x (B) y are points. Choices: (A) 12 (B) 14", {"A": "12", "B": "14"}),
    "none": ("How many circles are there?", {}),
    "one line after the marker": ("How many? Choices: A. 12 B. 14", {"A": "12", "B": "14"}),
    "colons after the marker": ("How many?\nOptions: A: 12, B: 14, C: 16", {"A": "12", "B": "14", "C": "16"}),
    "initials are not labels": ("Who? Choices: (A) Dr. B. Ho (B) C. Li", {"A": "Dr. B. Ho", "B": "C. Li"}),
    "small letters": ("How many?\n(a) 12\n(b) 14", {"A": "12", "B": "14"}),
    "bold letters": ("How many?\n**A.** 12\n**B.** 14", {"A": "12", "B": "14"}),
    "a Markdown list": ("How many?\n- A. 12\n- B. 14", {"A": "12", "B": "14"}),
    "no spaces": ("How many? (A)12(B)14", {"A": "12", "B": "14"}),
    "functions of points are not options": ("If f(A) = 3 and g(B) = 4, what is f(A) + g(B)?", {}),
    "an instruction on the next line": ("How many?\n(A) 12\n(B) 14\nAnswer with a letter.", {"A": "12", "B": "14"}),
    "an instruction after one line": ("Choices: (A) 12 (B) 14\nAnswer with a letter.", {"A": "12", "B": "14"}),
    "within a line, after a question mark": ("How big? A. 30° B. 45° C. 60°", {"A": "30°", "B": "45°", "C": "60°"}),
    "within a line, after a full stop": ("Find x. A. 1 B. 2 C. 3", {"A": "1", "B": "2", "C": "3"}),
    "two lines of two": ("Which?\nA. 1  B. 2\nC. 3  D. 4", {"A": "1", "B": "2", "C": "3", "D": "4"}),
    "typeset": (
        "Find x.\n$\\textbf{(A) } 12 \\qquad \\textbf{(B) } \\frac{1}{2} \\qquad\\textbf{(C)}\\ 16$",
        {"A": "12", "B": "\\frac{1}{2}", "C": "16"},
    ),
    "Chinese commas": ("图中（　）\nA、2\nB、3\nC、4", {"A": "2", "B": "3", "C": "4"}),
    "Chinese, within a line": ("求角度（ ）A、2 B、3 C、4", {"A": "2", "B": "3", "C": "4"}),
    "full-width brackets": ("Which?（A）red（B）blue", {"A": "red", "B": "blue"}),
    "initials after a question": ("Who wrote it? A. B. Smith", {}),
    "labels without texts": ("Which box comes next? Select from A, B and C.\n(A)\n(B)\n(C)", {}),
    "options of two lines": ("Which?\nA. a\nb\nB. c\nd\n\nAnswer.", {"A": "a\nb", "B": "c\nd"}),
}


@pytest.mark.parametrize("reason", QUESTIONS)
def test_options_in_a_question(reason: str) -> None:
    question, options = QUESTIONS[reason]
    assert options_in(question) == options


@given(st.text(max_size=300))
def test_any_question_is_taken(question: str) -> None:
    assert len(options_in(question)) != 1


@given(st.lists(st.from_regex(r"[a-z0-9 ]{1,12}", fullmatch=True).map(str.strip).filter(bool), min_size=2, max_size=6))
def test_a_list_that_is_written_is_read(texts: list[str]) -> None:
    options = {chr(ord("A") + i): " ".join(text.split()) for i, text in enumerate(texts)}
    listed = "\n".join(f"({letter}) {text}" for letter, text in options.items())
    assert options_in(f"Which one?\n{listed}") == options


LISTED = "How many? (A) 12 (B) 14"


@pytest.mark.parametrize(
    ("column", "options"),
    [
        ({"A": 3, "B": "4", "C": None}, {"A": "3", "B": "4"}),
        (["3", 4], {"A": "3", "B": "4"}),
        (None, {"A": "12", "B": "14"}),
        ("3, 4", {"A": "12", "B": "14"}),
    ],
)
def test_the_datasets_own_options_come_first(column: object, options: dict[str, str]) -> None:
    assert options_of(LISTED, column) == options


@pytest.mark.parametrize(
    ("text", "letter", "rest", "hedged"),
    [
        ("A", "A", "", False),
        ("(a)", "A", "", False),
        ("[B]", "B", "", False),
        ("Option C.", "C", "", False),
        ("A. 12", "A", "12", False),
        ("(D) the blue bar", "D", "the blue bar", False),
        ("12 (C)", "C", "12", False),
        ("A - 12", "A", "12", False),
        ("A. or B", "A", "or B", True),
        ("(A) 12 or (B) 14", "A", "12 or (B) 14", True),
        ("A. 12, B", "A", "12, B", True),
        ("B. The answer is B. It is 14", "B", "The answer is B. It is 14", False),
    ],
)
def test_a_pick(text: str, letter: str, rest: str, hedged: bool) -> None:
    assert read_pick(text) == (letter, rest, hedged)


@pytest.mark.parametrize("text", ["A cat", "AB", "12", "", "Apple", "A, B", "A or B", "x=5", "The A"])
def test_no_pick(text: str) -> None:
    assert read_pick(text) is None


def test_several_picks() -> None:
    letters = frozenset("ABCD")
    assert read_picks("A, C", letters, compact=False) == {"A", "C"}
    assert read_picks("(a) and (c)", letters, compact=False) == {"A", "C"}
    assert read_picks("AC", letters, compact=True) == {"A", "C"}
    assert read_picks("AC", letters, compact=False) is None
    assert read_picks("A", letters, compact=True) is None
    assert read_picks("A, A", letters, compact=True) is None
    assert read_picks("A, X", letters, compact=True) is None
    assert read_picks("Cab", letters, compact=True) is None
