"""Key words are extracted by rules: short, distinct, from the description, the same in every process."""

import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.english.key_words import extract_key_words, fold_words
from pebr.english.lexicon import FUNCTION_WORDS, UNDESCRIPTIVE

EXTRACTED = {
    "The picture shows two red circles to the left of a blue square.": ["two red circles", "left of", "blue square"],
    "The image shows a man wearing a red hat next to two large dogs.": ["man", "red hat", "next to", "two large dogs"],
    "The bar chart displays sales in 2010, 2011 and 2012.": ["bar chart", "sales", "2010", "2011", "2012"],
    "A building is behind the tree. A building is behind the tree.": ["building", "behind", "tree"],
    "The picture shows bottom-left 1 purple cross, bottom-right 4 red squares.":
        ["bottom left", "1 purple cross", "bottom right", "4 red squares"],
    "Chrome has the largest value of 45.5, followed by Opera with 32.1.":
        ["Chrome", "largest value", "45.5", "Opera", "32.1"],
    "The price is $3.50, and it fell by -2.5%.": ["price", "$3.50", "-2.5%"],
    "There is no car. A man not wearing a hat walks past a street without trees.": ["man", "street"],
    "There isn't a dog; the cat is missing. A tree stands in front of it.": ["tree", "in front of"],
    "The blue bar for Apple reaches 75%, and a man holds two balloons.":
        ["blue bar", "Apple", "75%", "man", "two balloons"],
    "The shaded region lies between the circles; an arrow points to the left.":
        ["shaded region", "between", "circles", "arrow", "left"],
    "The line y = 2x + 1 meets the curve at (2, -3).": ["line", "y = 2x + 1", "curve", "(2, -3)"],
    "Two data points lie on a 3D grid of 2x2 cells.": ["Two data points", "3D grid", "2x2 cells"],
    "Point A lies on the circle. A cat sits here.": ["Point A", "circle", "cat"],
    "This is an image of the following.": [],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("description", EXTRACTED)
def test_extraction_by_example(description: str) -> None:
    assert extract_key_words(description) == EXTRACTED[description]


WORDS = "the a two red large circle dogs tree of on left is shows wearing building , . : 7 50% x-axis and"
english = st.lists(st.sampled_from(re.findall(r"\S+", WORDS)), max_size=40).map(" ".join)


@given(english)
def test_extracted_key_words_are_short_different_and_in_their_description(description: str) -> None:
    found = extract_key_words(description)
    assert len({tuple(fold_words(phrase)) for phrase in found}) == len(found) <= 16
    text = f" {' '.join(fold_words(description))} "
    for phrase in found:
        assert len(phrase.split()) <= 4
        assert f" {' '.join(fold_words(phrase))} " in text
        assert phrase.casefold() not in FUNCTION_WORDS | UNDESCRIPTIVE


def test_extraction_is_the_same_in_every_process() -> None:
    text = "Seven small dogs and a cat are under the tree, to the right of a house with blue windows."
    code = f"from pebr.english.key_words import extract_key_words; print(extract_key_words({text!r}))"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == f"{extract_key_words(text)}\n"


@given(st.text(max_size=300))
def test_any_text_is_accepted(text: str) -> None:
    extract_key_words(text)
