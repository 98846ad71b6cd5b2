"""Properties of every answer check: symmetry, no wrong number accepted, spaces and a final full stop ignored."""

import re
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from pebr.answers.arithmetic import arithmetic_value
from pebr.answers.equality import Symbolic, compare
from pebr.answers.plain_text import plain
from pebr.answers.quantities import read_quantity, round_significant

integers = st.integers(-(10**9), 10**9)
fractions = st.fractions(min_value=-1000, max_value=1000, max_denominator=997)


def spellings(value: Fraction) -> list[str]:
    """Spellings of one rational number."""
    ways = [f"{value.numerator}/{value.denominator}", f"\\frac{{{value.numerator}}}{{{value.denominator}}}"]
    ways.append(f"${value.numerator} / {value.denominator}$")
    if value.denominator == 1:
        ways += [str(value.numerator), f"{value.numerator:,}", f"**{value.numerator}**", f"{value.numerator}.0"]
    if value >= 0 and value.denominator > 1 and value > 1:
        whole, rest = divmod(value, 1)
        ways.append(f"{whole} {rest.numerator}/{rest.denominator}")
    return [way for way in ways if not (value < 0 and way.startswith("\\frac"))]


@given(integers | fractions)
def test_every_spelling_of_a_number_equals_every_other(value: Fraction) -> None:
    ways = spellings(Fraction(value))
    for first in ways:
        for second in ways:
            assert compare(first, second) is True, (first, second)


@given(fractions, fractions, st.integers(0, 20), st.integers(0, 20))
def test_a_wrong_number_never_equals(first: Fraction, second: Fraction, i: int, j: int) -> None:
    ways, others = spellings(first), spellings(second)
    verdict = compare(ways[i % len(ways)], others[j % len(others)])
    assert verdict is (first == second)


@given(integers, st.integers(1, 10**6))
def test_a_neighbouring_integer_never_equals(value: int, distance: int) -> None:
    assert compare(str(value), str(value + distance)) is False
    assert compare(f"{value:,} apples", str(value + distance)) is False


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-1000, max_value=1000), st.integers(1, 999)
)
def test_decimals_differ_when_a_digit_differs(value: object, thousandths: int) -> None:
    exact = Fraction(str(value))
    other = exact + Fraction(thousandths, 1000)
    assert compare(str(value), f"{float(other):.3f}") is False


SENTENCES = (
    "The total value is {}.",
    "x = {}",
    "{} = x",
    "AB is {} cm",
    "{} because it is so",
    "There are {} apples in all.",
)


@given(fractions, fractions, st.sampled_from(SENTENCES))
def test_a_sentence_says_its_number_and_no_other(first: Fraction, second: Fraction, sentence: str) -> None:
    assert (compare(sentence.format(first), str(second)) is True) == (first == second)


PIECES = re.findall(
    r"\S+", "red blue circles circle square the two left of bar 12 1/2 2 0.5 50% $ cm kg ( ) { } [ ] , and or"
)
words = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=1000)
@given(words, words)
def test_equality_of_words_numbers_and_lists_is_symmetric(first: str, second: str) -> None:
    forth, back = compare(first, second), compare(second, first)
    assert isinstance(forth, Symbolic) == isinstance(back, Symbolic)
    if not isinstance(forth, Symbolic):
        assert forth == back


@given(st.permutations("abcde"), st.permutations("abcde"))
def test_letters_in_another_order_are_another_word(first: list[str], second: list[str]) -> None:
    assert compare("".join(first), "".join(second)) is (first == second)


@given(words | integers.map(str), words | integers.map(str), st.integers(0, 3), st.integers(0, 3), st.booleans())
def test_spaces_and_a_full_stop_change_nothing(first: str, second: str, before: int, after: int, stop: bool) -> None:
    dressed = " " * before + first + ("." if stop else "") + " " * after
    assert compare(dressed, second) == compare(first, second)


@given(st.text(max_size=200))
def test_plain_text_is_a_fixed_point(text: str) -> None:
    once = plain(text)
    assert plain(once) == once or "$" in text or "\\" in text or "**" in text or "`" in text


@given(st.text(min_size=1, max_size=80).filter(lambda text: plain(text) != ""))
def test_every_answer_equals_itself(text: str) -> None:
    assert compare(text, text) is True


def evaluate(tree: object) -> tuple[str, Fraction | None]:
    """An arithmetic tree as text, and its value by Python's fractions; None if it divides by zero."""
    if isinstance(tree, int):
        return str(tree), Fraction(tree)
    left, operator, right = tree  # type: ignore[misc]
    (a, x), (b, y) = evaluate(left), evaluate(right)
    text = f"({a}) {operator} ({b})"
    if x is None or y is None or (operator == "/" and y == 0):
        return text, None
    return text, {"+": x + y, "-": x - y, "×": x * y, "/": x / y if y else None}[operator]


trees = st.recursive(
    st.integers(0, 99), lambda inner: st.tuples(inner, st.sampled_from("+-×/"), inner), max_leaves=8
).filter(lambda tree: not isinstance(tree, int))


@given(trees)
def test_arithmetic_agrees_with_fractions(tree: object) -> None:
    text, value = evaluate(tree)
    assert arithmetic_value(text) == value


@given(st.fractions(min_value=-(10**6), max_value=10**6).filter(bool), st.integers(1, 12))
def test_rounding_to_significant_digits_agrees_with_formatting(value: Fraction, digits: int) -> None:
    rounded = round_significant(value, digits)
    assert abs(rounded - value) * 2 <= Fraction(10) ** (len(f"{int(abs(value))}") - digits) or abs(value) < 1
    assert round_significant(rounded, digits) == rounded


@settings(max_examples=300)
@given(st.text(alphabet="0123456789.,/ eE+-%$()^×x½", max_size=30))
def test_reading_a_quantity_never_fails(text: str) -> None:
    quantity = read_quantity(plain(text))
    assert quantity is None or isinstance(quantity.value, Fraction)
