"""Compare two answers by computer algebra, in a separate process: `python -m pebr.answers.symbolic SECONDS`.

Input: one pair per line, `[7, "given", "reference"]`. Output: one line per pair with its number, `[7, true]`,
`[7, false]`, or `[7, null]` if the time limit, the memory limit or a crash ended the comparison.

The LaTeX grammar of math-verify parses expressions and SymPy compares them. Hostile text can make both run forever, use
up memory or crash. So a child process does the work. A kernel timer ends the child at its limit, and the parent, which
has all libraries loaded, forks the next child within milliseconds. The limit counts processor time, so that a busy
machine makes no answer wrong. An audit hook kills a child that compiles source code from a string, starts a program or
opens a socket.
"""

import json
import logging
import mmap
import os
import re
import resource
import signal
import sys
from fractions import Fraction
from typing import IO, Any

import math_verify
import sympy
from latex2sympy2_extended import NormalizationConfig
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

from pebr.answers.plain_text import SYMBOLS
from pebr.answers.quantities import DIGITS_OF_A_ROUNDED_NUMBER, read_quantity, round_significant

MAX_MEMORY = 4 << 30  # bytes of address space
MAX_DIGITS = 400  # of a number
PAIRS_PER_CHILD = 5000  # then a new child replaces it, which frees its memory
DONE, REPLACE = 0, 3  # exit codes of a child: no more pairs; PAIRS_PER_CHILD pairs served

_LATEX = math_verify.LatexExtractionConfig(
    boxed_match_priority=-1,
    normalization_config=NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    ),
)
_COMMANDS = {symbol: command for command, symbol in reversed(SYMBOLS.items()) if not symbol.isascii()}
_FUNCTION = re.compile(r"(?<![\\a-zA-Z])(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![a-zA-Z])")
_TRIGONOMETRIC = re.compile(r"sin|cos|tan|cot|sec|csc")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*°")
_DECIMAL = re.compile(r"\d*\.\d+")
_PRECISION = 40  # significant digits of an evaluation
_POWER = re.compile(r"\^\s*(-\s*(?:\d+|[a-zA-Zα-ω])|\d{2,})")


def same_expression(given: str, reference: str) -> bool:
    """Whether two plain texts (`pebr.answers.plain_text`) are mathematically equal. Can run forever.

    >>> same_expression("(x+1)(x-1)", "x^2-1")
    True
    """
    first, second = parse(given), parse(reference)
    if first is None or second is None:
        return False
    for value, text, other in ((first, given, second), (second, reference, first)):
        if isinstance(value, sympy.Number) and isinstance(other, sympy.Expr) and other.is_number:
            return _same_value(value, text, other)
    if all(isinstance(value, sympy.Expr) and value.is_number for value in (first, second)):
        return _same_closed(first, second, given + " " + reference)
    return bool(math_verify.verify(second, first, timeout_seconds=None))


def parse(text: str) -> Any:
    """The SymPy object of a plain text, or None if it cannot be parsed."""
    found = math_verify.parse(f"${to_latex(text)}$", [_LATEX], fallback_mode="no_fallback", parsing_timeout=None)
    value = found[0] if found else None
    if isinstance(value, sympy.Expr) and {symbol.name for symbol in value.free_symbols} == {"i"}:
        return value.subs(dict.fromkeys(value.free_symbols, sympy.I))  # "e^{iπ}" and "3+4i" are numbers
    return value


def to_latex(text: str) -> str:
    """A plain text in the LaTeX that the grammar of math-verify accepts."""
    text = text.replace("**", "^")
    if _TRIGONOMETRIC.search(text):
        text = _DEGREES.sub(r"(\1π/180)", text)
    text = _FUNCTION.sub(r"\\\1 ", text)
    text = _POWER.sub(r"^{\1}", text)
    text = "".join(f"\\{_COMMANDS[character]} " if character in _COMMANDS else character for character in text)
    return text.replace("\\circ ", "^\\circ ").replace("^^", "^")


def _same_value(value: sympy.Number, text: str, other: sympy.Expr) -> bool:
    """Whether a number equals a closed expression, exactly or rounded to six or more significant digits."""
    quantity = read_quantity(text)
    exact = sympy.Rational(quantity.value.numerator, quantity.value.denominator) if quantity else value
    other = other.doit()
    if other == exact or sympy.simplify(other - exact) == 0:
        return True
    if quantity is None or quantity.significant is None or quantity.significant < DIGITS_OF_A_ROUNDED_NUMBER:
        return False
    real, imaginary = other.evalf(quantity.significant + 10).as_real_imag()
    if imaginary != 0 or not real.is_finite:
        return False
    return round_significant(Fraction(str(real)), quantity.significant) == quantity.value


def _same_closed(first: sympy.Expr, second: sympy.Expr, texts: str) -> bool:
    """Whether two closed expressions have one value, by the size of their difference relative to them.

    A decimal of six or more significant digits in the texts is rounded, so it allows half of its last digit.
    """
    first, second = first.doit(), second.doit()
    if first == second or sympy.simplify(first - second) == 0:
        return True
    digits = [len(decimal.replace(".", "").lstrip("0")) for decimal in _DECIMAL.findall(texts)]
    exact = min(digits, default=_PRECISION - 10)
    if exact < DIGITS_OF_A_ROUNDED_NUMBER:
        exact = _PRECISION - 10
    difference, size = (abs((first - second).evalf(_PRECISION)), abs(second.evalf(_PRECISION)))
    if not (difference.is_Float and size.is_Float):
        return False
    return bool(difference <= size * sympy.Rational(1, 2 * 10 ** (exact - 1)))


def _number(_converter: _Latex2Sympy, text: str) -> sympy.Number:
    """Parse a number exactly. Replaces the library's method, which lets SymPy evaluate the text as Python source."""
    digits = text.replace(",", "")
    _, _, exponent = digits.lower().partition("e")
    if len(digits) > MAX_DIGITS or abs(int(exponent or 0)) > MAX_DIGITS:
        raise ValueError(f"number too long: {len(digits)} characters, at most {MAX_DIGITS} digits")
    value = Fraction(digits)
    return sympy.Rational(value.numerator, value.denominator)


_Latex2Sympy.parse_number = _number

_FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "subprocess.", "socket.", "shutil.")

WARM_UP = (
    ("x^2-1", "(x-1)(x+1)"), ("1.414214", "\\sqrt{2}"), ("y = x+1", "x+1 = y"), ("x<5", "5>x"), ("\\log_2 8", "3"),
    ("sin(x)^2", "1-cos(x)^2"), ("[1,2)", "(1,2]"), ("{1,x}", "{x,1}"), ("\\frac{1}{x}", "x^{-1}"), ("x=±2", "±2"),
    ("10!", "\\binom{5}{2}"), ("(1,2)∪(3,∞)", "x>3"), ("\\int_0^1 x dx", "1/2"), ("e^{iπ}", "-1"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}"), ("\\sum_{i=1}^{3} i", "6"),
    ("|x|", "\\sqrt{x^2}"),
)  # fmt: skip


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hook: kills the process for actions that no comparison needs, such as compiling source code from a text."""
    if event.startswith(_FORBIDDEN) or (event == "compile" and _is_foreign_source(*arguments)):
        os.kill(os.getpid(), signal.SIGKILL)


def _is_foreign_source(source: object, filename: object) -> bool:
    """True for source code in a string, except the functions that SymPy generates for polynomials."""
    return filename == "<string>" and source is not None and not str(source).startswith("b'def monomial_")


def serve(pairs: IO[bytes], answers: IO[bytes], seconds: float, at_work: mmap.mmap) -> None:
    """Compare pairs, then exit with DONE if there are no more, or with REPLACE after PAIRS_PER_CHILD pairs.

    `at_work` holds the number of the pair in progress, else 0. So the parent knows which pair a dead child was working
    on, if any.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    sys.addaudithook(_guard)
    for _ in range(PAIRS_PER_CHILD):
        line = pairs.readline()
        if not line:
            os._exit(DONE)
        number, given, reference = json.loads(line)
        at_work[:] = number.to_bytes(len(at_work), "little")
        signal.setitimer(signal.ITIMER_PROF, seconds)  # the kernel ends the process at this limit, whatever Python does
        verdict = same_expression(given, reference)
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(_line(number, verdict))
        at_work[:] = bytes(len(at_work))
    os._exit(REPLACE)


def _line(number: int, verdict: bool | None) -> bytes:
    return json.dumps([number, verdict]).encode() + b"\n"


def main() -> None:
    """Load all libraries, then fork children that compare pairs, one child at a time."""
    logging.disable(logging.CRITICAL)
    seconds = float(sys.argv[1])
    pairs, answers = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for pair in WARM_UP:  # SymPy loads parts at their first use and compiles some of them from strings
        same_expression(*pair)
    answers.write(b"ready\n")
    at_work = mmap.mmap(-1, 8)  # shared with every child
    while True:
        child = os.fork()
        if child == 0:
            serve(pairs, answers, seconds, at_work)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == DONE:
            return
        if code != REPLACE:
            answers.write(_line(int.from_bytes(at_work[:], "little"), None))
            at_work[:] = bytes(len(at_work))


if __name__ == "__main__":
    main()
