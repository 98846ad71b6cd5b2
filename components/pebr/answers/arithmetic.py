"""The exact value of plain arithmetic such as "3 × (4 + 1) = 15" or "10^3".

Only digits, signs, + - × · * ÷ / ^ and brackets are parsed; no text is evaluated as Python. Depth, exponents and the
size of every intermediate value are bounded, so `9**9**9**9` or ten thousand brackets are refused at once.
"""

import re
from fractions import Fraction

MAX_DEPTH = 30
MAX_BITS = 4096  # of any intermediate numerator or denominator
_TOKEN = re.compile(r"\s*(?:(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)|(\*\*|[-+×·*÷/^(){}]))")
_IS_ARITHMETIC = re.compile(r"[-+\d.,\s×·*÷/^(){}=]+")
_HAS_OPERATOR = re.compile(r"[+×·*÷^(]|\d\s+-\s+\d")  # not the range "7-8", not the date "1/2/2024"


class NotArithmeticError(ValueError):
    """A text that is not arithmetic, or whose value is too large."""


def arithmetic_value(text: str) -> Fraction | None:
    """The value of an arithmetic expression, or of a chain of equal expressions; None for any other text.

    >>> arithmetic_value("3 × 4 = 12")
    Fraction(12, 1)
    >>> arithmetic_value("9**9**9**9") is arithmetic_value("7-8") is arithmetic_value("2x") is None
    True
    """
    if not _IS_ARITHMETIC.fullmatch(text) or not _HAS_OPERATOR.search(text):
        return None
    try:
        values = {_Parser(side).value() for side in text.split("=")}
    except NotArithmeticError:
        return None
    return values.pop() if len(values) == 1 else None


class _Parser:
    """A recursive-descent parser: sums of products of signed powers of numbers and brackets."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        position = 0
        text = text.strip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if not match:
                raise NotArithmeticError
            self.tokens.append(
                {"**": "^", "·": "×", "*": "×", "÷": "/", "{": "(", "}": ")"}.get(match[2], match[2] or match[1])
            )
            position = match.end()
        self.position = 0
        self.depth = 0

    def value(self) -> Fraction:
        """The value of the whole text."""
        value = self._sum()
        if self.position < len(self.tokens):
            raise NotArithmeticError
        return value

    def _take(self, *wanted: str) -> str:
        """Consume and return the next token if it is one of these, else return ""."""
        if self.position < len(self.tokens) and self.tokens[self.position] in wanted:
            self.position += 1
            return self.tokens[self.position - 1]
        return ""

    def _sum(self) -> Fraction:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotArithmeticError
        value = self._product()
        while operator := self._take("+", "-"):
            other = self._product()
            value = _bounded(value + other if operator == "+" else value - other)
        self.depth -= 1
        return value

    def _product(self) -> Fraction:
        value = self._signed()
        while operator := self._take("×", "/"):
            other = self._signed()
            if operator == "/" and other == 0:
                raise NotArithmeticError
            value = _bounded(value * other if operator == "×" else value / other)
        return value

    def _signed(self) -> Fraction:
        sign = 1
        while mark := self._take("-", "+"):
            sign = -sign if mark == "-" else sign
        return sign * self._power()

    def _power(self) -> Fraction:
        base = self._atom()
        if not self._take("^"):
            return base
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotArithmeticError
        exponent = self._signed()  # right-associative: 2^3^2 is 2^9
        self.depth -= 1
        size = max(base.numerator.bit_length(), base.denominator.bit_length())
        if exponent.denominator != 1 or abs(exponent) * size > MAX_BITS or (base == 0 and exponent < 0):
            raise NotArithmeticError
        return Fraction(base ** int(exponent))

    def _atom(self) -> Fraction:
        if self._take("("):
            value = self._sum()
            if not self._take(")"):
                raise NotArithmeticError
            return value
        if self.position == len(self.tokens) or not self.tokens[self.position][-1].isdigit():
            raise NotArithmeticError
        self.position += 1
        return Fraction(self.tokens[self.position - 1].replace(",", ""))


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise NotArithmeticError
    return value
