"""Answers in sentences: the short answer in "The total value is 7", "AB is 7" or "A is correct".

A sentence is only shortened, never changed. This applies to the given answer only, not to the reference: a shortened
sentence loses its subject, and two sentences about different subjects could become equal.
"""

import re

_SUBJECT = r"(?:(?!(?:is|are|was|not|or|but|nor|either|wrong|incorrect|false|opposite|if|than)\b)[\w'’-]+\s){1,8}"
_WHOLE = re.compile(
    rf"""(?: (?:so|thus|therefore|hence),?\s+ )?
    (?:
        (?:the|its|their|this|that|these|those|there) \s+ (?:{_SUBJECT})? (?:is|are|was|were|equals) \s+ (\S.*)
      | (\S.{{0,200}}?) \s+ (?:is|would\ be) \s+ (?:the\s+)? (?:correct|right) (?:\s+(?:answer|option|choice|one))?
      | (?: total | sum | count | value | number | final\ answer | answer | result | solution ) \s*:\s* (\S.*)
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NAMED = re.compile(r"([a-zA-Z]|[∠△]?\s?[A-Z]{2,4})\s+(?:is|equals)\s+(?=[-+$€£√\\.]?\s*[\dπ])")
_REVERSED = re.compile(r"([-+]?[\d.√\\][^=<>]{0,200}?)\s*=\s*([^\W\d_])")
_REASON = re.compile(r"(\S.{0,200}?)\s*,?\s+(?:because|since)\s.*", re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(
    r"(\S.*?)\s+(?:(?:in|on|of)\s+(?:the|this)\s+(?:picture|image|photo|figure|diagram|chart|graph|table|scene|plot)"
    r"|in\s+total|in\s+all|altogether)",
    re.IGNORECASE | re.DOTALL,
)


def shorter_readings(text: str) -> list[str]:
    """The shorter forms of a plain text that is a sentence, each shorter than the one before; [] for other texts.

    >>> shorter_readings("The value of x is 7 because 3+4=7")
    ['The value of x is 7', '7']
    >>> shorter_readings("AB is 7"), shorter_readings("7 = x"), shorter_readings("the blue bar")
    (['AB = 7'], ['x = 7'], [])
    """
    readings: list[str] = []
    for _ in range(4):
        shorter = _shorter(text)
        if not shorter or shorter == text:
            break
        readings.append(shorter)
        text = shorter
    return readings


def _shorter(text: str) -> str:
    if match := _REASON.fullmatch(text):
        return match[1]
    if match := _NAMED.match(text):
        return f"{match[1]} = {text[match.end() :]}"
    if match := _REVERSED.fullmatch(text):
        return f"{match[2]} = {match[1]}"
    if match := _WHOLE.fullmatch(text):
        return next(filter(None, match.groups()))
    match = _PLACE.fullmatch(text)
    return match[1] if match else ""
