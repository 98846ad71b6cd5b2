"""Answers as plain text: Unicode variants, Markdown, LaTeX and lead-ins are reduced to one notation.

`plain` turns `**7**`, `$\\boxed{7}$`, `The final answer is: 7.` and full-width `７` into `7`; `\\frac{1}{2}` and `½`
into `1/2`; `2\\pi` into `2π`; `50\\%` into `50%`. Symbols become single Unicode characters; words keep their case. The
result is only compared, never evaluated. Texts are bounded by `MAX_CHARACTERS`, which also bounds regex backtracking.
"""

import re
import unicodedata
from functools import lru_cache

MAX_CHARACTERS = 1000  # a longer text is not an answer, and equals nothing

# LaTeX commands that stand for one character.
SYMBOLS = {
    "pi": "π", "infty": "∞", "times": "×", "cdot": "·", "div": "÷", "pm": "±", "mp": "∓", "circ": "°", "degree": "°",
    "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠", "neq": "≠",
    "lt": "<", "gt": ">", "approx": "≈", "sim": "~", "cup": "∪", "cap": "∩", "in": "∈", "emptyset": "∅",
    "varnothing": "∅", "angle": "∠", "triangle": "△", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ",
    "theta": "θ", "lambda": "λ", "mu": "μ", "sigma": "σ", "phi": "φ", "varphi": "φ", "omega": "ω", "rho": "ρ",
    "lbrace": "{", "rbrace": "}", "to": "→", "rightarrow": "→", "parallel": "∥", "perp": "⊥", "prime": "'",
}  # fmt: skip

_CHARACTERS = str.maketrans(
    dict.fromkeys("−‐‑‒–—―﹣", "-")
    | dict.fromkeys("‘’‛′`´", "'")
    | dict.fromkeys("“”„″«»", '"')
    | {"º": "°", "˚": "°", "∗": "*", "⋅": "·", "∙": "·", "⩽": "≤", "⩾": "≥", "⁄": "/", "∕": "/", "∶": ":", "。": "."}
)
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, format characters (zero width, right to left), lone surrogates

_EMPHASIS = (
    (re.compile(r"(?<![\w)*^])\*\*(?=\S)([^*]+)\*\*(?![\w(*])"), r"\1"),
    (re.compile(r"(?<![\w)*^])\*(?=\S)([^*]+)\*(?![\w(*])"), r"\1"),
    (re.compile(r"(?<!\w)__(?=\S)([^_]+)__(?!\w)"), r"\1"),
    (re.compile(r"(?<!\w)_(?=\S)([^_]+)_(?!\w)"), r"\1"),
    (re.compile(r"</?(?:answer|b|i|em|strong|p|br)\s*/?>", re.IGNORECASE), " "),
)
_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|normal|tt)?|math(?:rm|bf|it|sf|tt)|mbox|operatorname)\s*\{([^{}]*)\}")
_FRACTION = re.compile(
    r"(\d?)\s*\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))(\s*[^\W\d_]|\s*[({\\])?"
)
_ROOT = re.compile(
    r"(?<![a-zA-Z\\])sqrt\s*\(([^()]*)\)|√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+(?:\.\d+)?|[a-zA-Z]))|\\sqrt\s*(\d|[a-zA-Z])"
)
_NTH_ROOT = re.compile(r"\\sqrt\s*\[(\d{1,3})\]\s*(\d|[a-zA-Z])")
_OVER = re.compile(r"\{?([^{}=]*)\\over(?![a-zA-Z])([^{}=]*)\}?")
_REPEATING = re.compile(r"(?<!\d)(\d{0,9})\.(\d{0,9})\\overline\s*\{\s*(\d{1,9})\s*\}")
_POWER_GROUP = re.compile(r"\^\s*(?:\{\s*([-+]?\d+|[a-zA-Z]|°)\s*\}|\(\s*([-+]?\d+)\s*\))")
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_SPACING = re.compile(
    r"\\[,;:> ]|~|\\q?quad\b|\\\\(?![a-zA-Z])|\\(?:displaystyle|textstyle|limits|left|right|[bB]igg?[lr]?)(?![a-zA-Z])"
)

_SPELLINGS = (  # variants of a sign -> the sign
    (re.compile(r">="), "≥"),
    (re.compile(r"<="), "≤"),
    (re.compile(r"(?<![\d!])!="), "≠"),  # not in "5!=120"
    (re.compile(r"(?<![^\W\d_])pi(?![^\W_])"), "π"),
    (re.compile(r"(?:(?<=[(\[,])|(?<=[(\[,] )|\A)\+\s*(?=∞|inf)"), ""),
    (re.compile(r"(?<![^\W_])inf(?:inity)?(?![^\W_])", re.IGNORECASE), "∞"),
)

_LEAD_IN = re.compile(
    r"""(?: (?:so|thus|therefore|hence) ,? \s+
          | (?:the \s+)? (?:final \s+|correct \s+|right \s+)* (?:answer|result|solution) \s* (?:is|are|:|=) (?![a-z])
          | (?:it \s+ is|it's|there \s+ (?:is|are)|that \s+ is) (?![a-z])
          | (?:about|around|roughly|approximately|approx\.?|exactly) (?![a-z])
          | [≈~=:]
        ) \s*""",
    re.IGNORECASE | re.VERBOSE,
)


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """The plain form of an answer; "" if it has more than MAX_CHARACTERS characters.

    >>> plain("The final answer is: **$\\\\frac{1}{2}$**.")
    '1/2'
    >>> plain("\\\\boxed{3\\\\text{ cm}^2}")
    '3 cm^2'
    """
    if len(text) > MAX_CHARACTERS:
        return ""
    text = _without_latex(_without_markup(_without_unicode(text)))
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = " ".join(text.split())
    while text != (stripped := _strip_ends(text)):
        text = stripped
    return text


def _without_unicode(text: str) -> str:
    """Unify Unicode variants: ASCII digits, one minus, one quote; fractions and powers are spelled out."""
    if text.isascii() and text.isprintable():
        return text
    text = text.translate(_CHARACTERS)
    text = _SUPERSCRIPT.sub(lambda match: "^{" + unicodedata.normalize("NFKC", match[0]).replace("−", "-") + "}", text)
    text = _SUBSCRIPT.sub(lambda match: "_" + unicodedata.normalize("NFKC", match[0]), text)
    pieces = []
    for character in text:
        if character in "\n\t\r\v\f":
            pieces.append(" ")
        elif unicodedata.category(character) not in _INVISIBLE:
            folded = unicodedata.normalize("NFKC", character)
            if "⁄" in folded:  # "½"; after a digit it is the fraction of a mixed number
                folded = " " + folded.replace("⁄", "/")
            pieces.append(folded)
    return "".join(pieces)


def _without_markup(text: str) -> str:
    """Remove Markdown emphasis, answer tags and math delimiters. Of boxes, keep only the content of the last."""
    if (box := max(text.rfind("\\boxed"), text.rfind("\\fbox"))) >= 0:
        text = _braced(text, text.find("{", box)) or text
    for pattern, replacement in _EMPHASIS:
        text = pattern.sub(replacement, text)
    for delimiter in ("\\(", "\\)", "\\[", "\\]", "$$"):
        text = text.replace(delimiter, " ")
    if text.replace("\\$", "").count("$") % 2 == 0:  # pairs delimit math; an odd number means a currency
        text = re.sub(r"(?<!\\)\$", " ", text)
    return text


def _braced(text: str, start: int) -> str:
    """The text from the brace at `start` to its closing brace, or to the end of the text; "" if start is -1."""
    depth = 0
    for position in range(max(start, 0), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + 1 : position]
    return text[start + 1 :] if start >= 0 else ""


def _without_latex(text: str) -> str:
    """Replace LaTeX commands for text, spacing, fractions, roots and symbols by plain notation. Other commands stay."""
    if not any(mark in text for mark in "\\√^{") and "sqrt" not in text:
        return text
    text = text.replace("\\!", "").replace("{,}", ",")
    text = _SPACING.sub(" ", text)
    for mark in "%$#&_":
        text = text.replace("\\" + mark, mark)
    text = _COMMAND.sub(lambda match: SYMBOLS.get(match[1], match[0]), text)
    for _ in range(8):  # from the inside out; deeper nesting stays
        before = text
        text = _WRAPPER.sub(r"\1", text)
        text = _POWER_GROUP.sub(lambda match: "^" + (match[1] or match[2]), text)
        if "\\over" in text:
            text = _OVER.sub(r"\\frac{\1}{\2}", text)
        text = _FRACTION.sub(_fraction, text)
        text = _NTH_ROOT.sub(r"\\sqrt[\1]{\2}", _REPEATING.sub(_repeating, text))
        text = _ROOT.sub(lambda match: "\\sqrt{" + next(filter(None, match.groups()), "") + "}", text)
        if text == before:
            break
    return text.replace("\\{", "{").replace("\\}", "}").replace("^°", "°")


def _fraction(match: re.Match[str]) -> str:
    """`\\frac{1}{2}` as 1/2. After a digit it ends a mixed number; before a factor it stays a `\\frac`."""
    whole, above, below, factor = match[1], match[2] or match[3], match[4] or match[5], match[6]
    if factor:
        return f"{whole} \\frac{{{above}}}{{{below}}}{factor}".strip()
    return f"{whole} {above}/{below}".strip()


def _repeating(match: re.Match[str]) -> str:
    """`0.\\overline{3}` as 3/9."""
    whole, before, period = match.groups()
    digits = int(f"{whole}{before}{period}") - int(f"{whole}{before}" or "0")
    return f"{digits}/{(10 ** len(period) - 1) * 10 ** len(before)}"


def _strip_ends(text: str) -> str:
    """Remove a lead-in, surrounding quotes, needless braces, and punctuation at the end."""
    text = text.strip()
    if (lead := _LEAD_IN.match(text)) and lead.end() < len(text):
        text = text[lead.end() :]
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if text.startswith("{") and text.endswith("}") and not any(mark in text[1:-1] for mark in "{},"):
        text = text[1:-1]
    if text.endswith("!") and re.search(r"[a-zA-Z]{2}!+$", text):  # "yes!", but not "5!" or "n!"
        text = text.rstrip("!")
    return text.strip("*`").rstrip(" .,;:?")
