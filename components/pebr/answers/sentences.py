"""Answers in sentences: the short answer in "The total value is 7", "It takes 7 days" or "A is correct".

A sentence is only shortened, never changed. This applies to the given answer only, not to the reference: a shortened
sentence loses its subject, and two sentences about different subjects could become equal.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

_NEGATION = r"not|no|never|nor|neither|hardly|without|except|unless"
_SUBJECT = (
    rf"(?:(?!(?:{_NEGATION}|is|are|was|or|but|either|wrong|incorrect|false|opposite|if|than)\b)"
    r"(?:[\w'’-]+|\$?[0-9.]+%?)\s){1,8}"
)
_VERB = r"""(?: (?:is|are|was|were) (?:\s+ (?: equal \s+ to | located | situated | found | placed))?
    | equals? (?:\s+ to)?
    | (?:(?:will|would|should|must) \s+)? (?: be | takes? | costs? | goes | go | measures? | weighs? | lasts? | shows?
        | reads? | has | have | contains? | gives? | gets? | obtain | find | needs? | requires? | points | moves | turns
        | reaches | represents)
    | took | lasted | weighed | had | went | bought | sold | ate | paid | got | spent | earned | saved | made | used
    | scored )"""
_WHOLE = re.compile(
    rf"""(?: (?:so|thus|therefore|hence),?\s+ )?
    (?:
        (\S.{{0,200}}?) \s+ (?:is|would\ be) \s+ (?:(?:the|my|our)\s+)?
            (?: (?:correct|right) | (?:(?:correct|right|final|best)\s+)? (?:answer|option|choice|solution|result|one) )
      | (?: (?:it|he|she|they|we|you) \s+ | (?:the|its|their|this|that|these|those|there) \s+ (?:{_SUBJECT})? )
            {_VERB} \s+ (\S.*)
      | (?: total | sum | count | value | number | final\ answer | answer | result | solution ) \s*:\s* (\S.*)
      | (\S.{{0,200}}?) \s+ (?:is|are) \s+ (?:left|remaining|shown|needed|required)
      | (?:an?\ |the\ )? (?: total | sum | count | area | volume | perimeter | circumference | length | width | height
            | radius | diameter | value | measure | mean | median | average | slope | difference | probability | speed
            | price | cost | share | ratio ) \s+ of \s+ (?=[-+$€£√\\.]?[\dπ]) (\S.*)
      | (?!(?:{_NEGATION})\b) [^\W\d]{{2,20}} (?:\s[^\W\d]{{2,20}}){{0,4}} : \s+ ([-+$€£]?[.\d][^:;,]*)
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_NAMED = re.compile(r"([a-zA-Z]|[∠△]?\s?[A-Z]{2,4})\s+(?:is(?: equal to)?|equals)\s+(?=[-+$€£√\\.]?\s*[\dπ])")
_REVERSED = re.compile(r"([-+]?[\d.√\\][^=<>]{0,200}?)\s*=\s*([^\W\d_])")
_REASON = re.compile(
    r"(\S.{0,200}?)\s*(?:,?\s+(?:because|since)\s.*|\((?:because|since|as)\s.*\))", re.IGNORECASE | re.DOTALL
)
_PLACE = re.compile(
    r"(\S.*?)\s+(?:(?:in|on|of)\s+(?:the|this)\s+(?:picture|image|photo|figure|diagram|chart|graph|table|scene|plot)"
    r"|in\s+total|in\s+all|altogether|of\s+them|(?:to|towards)\s+the\s+(?:left|right|north|south|east|west)"
    r"|(?:up|down|left|right|north|south|east|west)wards?)",
    re.IGNORECASE | re.DOTALL,
)
_EXPLAINS = re.compile(r"(?:because|since|as|explanation|reason(?:ing)?|note)\b", re.IGNORECASE)
_DRESSED = re.compile(
    r"""(?:the\s+one\s+(?=in\b|on\b|at\b))? (?: (?:(?:located|situated|found|placed)\s+)?
            (?:in|on|at|to(?!\s*\d)|inside|during|(?:by|from|since|until)(?=\s\d{4}\Z))\s+ (?:the\s+)? (?=\S) )?
    (?: (?:the\s+)? (?:colou?r|year|number|letter|word|month|digit|direction)\s+ (\S.*)
      | (\S.*?)\s+ (?:in\s+)?colou?r(?:ed)?
      | (?:the\s+)? ((?:(?:upper|lower|top|bottom)[\s-])?(?:left|right|top|bottom))(?:[\s-]hand)?
            \s+(?:side|direction|corner|one)
      | (\S.*) )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=2048)
def shorter_readings(text: str) -> Sequence[str]:
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


@lru_cache(maxsize=2048)
def undressed(text: str) -> str:
    """A plain text without a preposition before it or a general noun with it; the text itself if it has neither.

    Only one of two texts may be undressed: "in the box" is not "on the box".

    >>> undressed("on the left side"), undressed("The color blue"), undressed("in 2015"), undressed("left foot")
    ('left', 'blue', '2015', 'left foot')
    """
    match = _DRESSED.fullmatch(text) if " " in text else None
    return next(filter(None, match.groups())) if match else text


def is_explanation(line: str) -> bool:
    """Whether a plain line is a sentence that explains an answer, and not an answer itself.

    >>> is_explanation("because 3+4=7"), is_explanation("All bars rise from left to right"), is_explanation("dog")
    (True, True, False)
    """
    if _EXPLAINS.match(line):
        return True
    return len(line.split()) > 3 and not any(len(reading.split()) < 4 for reading in shorter_readings(line))


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
