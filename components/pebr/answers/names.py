"""Names before values: the point in "P(3, 2)", the ratio in "AB:BC = 3:2", the function in "f(x) = 2x + 3"."""

import re

_VARIABLES = re.compile(r"\(\s*[a-zA-Z]\w{0,2}(?:\s*,\s*[a-zA-Z]\w{0,2}){1,4}\s*\)\s*=\s*(?=[(\[⟨])")
_BEFORE_BRACKETS = re.compile(
    r"\A(?:(?:(?i:the\s+)?(?i:point|vertex|center|centre|set|matrix|vector)\s+)?[A-Z]'?\s*=?"
    r"|(?i:the\s+)?(?i:point|vertex|center|centre)|[a-zA-Z]\s*=)\s*(?=[(\[{⟨].*,.*[)\]}⟩]\Z)"
)
_BEFORE_RATIO = re.compile(r"\A[A-Za-z][\w{}]*(?:\s*:\s*[A-Za-z][\w{}]*)+\s*=\s*(?=[\d.]+\s*:)")
_RATIO_IN_WORDS = re.compile(r"\A(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)\Z")
_FUNCTION = re.compile(r"\A[a-zA-Z](?:\^\{?-1\}?|'{1,3})?\s*\(\s*[a-zA-Z]\s*\)\s*=\s*")
_SET = re.compile(r"\A\{?\s*([a-z])\s*[|:]\s*(\1\s*[<>≤≥∈].*?)\}?\Z")
_RANGE = re.compile(r"(?:from )?(\d[\d.]*)\s*(?:to|-)\s*(\d[\d.]*)|between (\d[\d.]*) and (\d[\d.]*)")
_FRACTION = re.compile(r"\A(\d+)\s*/\s*(\d+)\Z")
_RATIO = re.compile(r"\A\d+\s*:\s*\d+\Z")
_MAY_BE = re.compile(r"[=(\[{⟨:|]|\d to |between ")
_Y = re.compile(r"\Ay\s*=\s*")


def without_names(given: str, reference: str) -> tuple[str, str]:
    """Two plain texts without a name that only one of them has; "y = ..." and "f(x) = ..." lose theirs together.

    >>> without_names("P(3, 2)", "(3, 2)"), without_names("P(3, 2)", "Q(3, 2)")
    (('(3, 2)', '(3, 2)'), ('P(3, 2)', 'Q(3, 2)'))
    >>> without_names("3 to 2", "AB:BC = 3:2")
    ('3:2', '3:2')
    """
    if not _MAY_BE.search(given + reference):
        return given, reference
    ranges = [_RANGE.fullmatch(text) for text in (given, reference)]
    if all(ranges):
        first, second = ("-".join(filter(None, match.groups())) for match in ranges if match)
        return first, second
    first, second = (_SET.sub(r"\2", _RATIO_IN_WORDS.sub(r"\1:\2", text)) for text in (given, reference))
    if _RATIO.match(first) or _RATIO.match(second):
        first, second = (_FRACTION.sub(r"\1:\2", text) for text in (first, second))
    for name in (_VARIABLES, _BEFORE_BRACKETS, _BEFORE_RATIO):
        if (name.search(first) is None) != (name.search(second) is None):
            first, second = name.sub("", first), name.sub("", second)
    if (_FUNCTION.match(first) is None) != (_FUNCTION.match(second) is None) and ("=" in first) != ("=" in second):
        first, second = _FUNCTION.sub("", first), _FUNCTION.sub("", second)
    if (_Y.match(first) and _FUNCTION.match(second)) or (_FUNCTION.match(first) and _Y.match(second)):
        first, second = (_FUNCTION.sub("", _Y.sub("", text)) for text in (first, second))
    return first, second
