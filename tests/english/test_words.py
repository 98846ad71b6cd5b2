"""Number words and the singular of nouns."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.english.words import NUMBERS, fold_numbers, singular


@given(st.integers(0, 999_999))
def test_number_words_are_read_as_they_are_spelled(number: int) -> None:
    assert fold_numbers(spell(number).split()) == [str(number)]


def spell(number: int) -> str:
    """A number in English words."""
    ones, tens = list(NUMBERS)[:20], list(NUMBERS)[18:]  # tens[2] is "twenty"
    if number < 20:
        return ones[number]
    if number < 100:
        return tens[number // 10] + (f" {ones[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{ones[number // 100]} hundred" + (f" and {spell(number % 100)}" if number % 100 else "")
    return f"{spell(number // 1000)} thousand" + (f" {spell(number % 1000)}" if number % 1000 else "")


@pytest.mark.parametrize("word", ["bus", "glass", "axis", "series", "this", "lens", "circle", "news", "focus", "yes"])
def test_words_that_are_no_plural_stay(word: str) -> None:
    assert singular(word) == word


def test_singular_is_a_fixed_point() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        word = "".join(draw.choices("aeioubcdst", k=draw.randint(3, 8))) + draw.choice(["s", "es", "ies", "ses", ""])
        assert singular(singular(word)) == singular(word) or singular(word).endswith("s")
