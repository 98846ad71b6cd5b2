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
    "Omega": "Ω", "Theta": "Θ", "langle": "⟨", "rangle": "⟩", "Rightarrow": "⇒", "implies": "⇒", "therefore": "∴",
    "cong": "≅", "mid": "|",
}  # fmt: skip

_CHARACTERS = str.maketrans(
    dict.fromkeys("−‐‑‒–—―﹣", "-")
    | dict.fromkeys("‘’‛′`´", "'")
    | dict.fromkeys("“”„″«»", '"')
    | {
        "º": "°",
        "˚": "°",
        "∗": "*",
        "⋅": "·",
        "∙": "·",
        "⩽": "≤",
        "⩾": "≥",
        "⁄": "/",
        "∕": "/",
        "∶": ":",
        "。": ".",
        "、": ", ",
    }
    | {"或": " or ", "〈": "⟨", "〉": "⟩"}
)
_CHINESE_AND = re.compile(r"(?<=[\d)\]}])\s*[和与]\s*(?=[-\d(\[{\\])")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, format characters (zero width, right to left), lone surrogates

_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_LONGEST_GAP = 60  # characters between two boxes of one answer
_NEW_ANSWER = re.compile(r"[.:=<>?!+]|\b(?:answer|so|then|thus|therefore|hence|final|result|finally)\b", re.IGNORECASE)

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
_THIN_SPACE = re.compile(r",\s*\\!\s*")
_LAYOUT = re.compile(r"\\(?:begin|end)\s*\{(?:align(?:ed)?|equation|gather(?:ed)?|split|cases)\*?\}")
_NEW_ROW = re.compile(r"\s*\\\\\s*(?:&\s*=)?")
_MATRIX = re.compile(
    r"(?P<name>[A-Za-z]\s*=\s*)?\s*\\begin\s*\{(?P<kind>[pbB]?matrix|smallmatrix|array)\}(?:\s*\{[clr|\s]*\})?"
    r"(?P<cells>.*)\\end\s*\{(?P=kind)\}\s*[.,]?\s*",
    re.DOTALL,
)
_SEGMENT = re.compile(
    r"\\(?:overline|overrightarrow|overleftrightarrow|vec|widehat)\s*\{\s*([A-Z]{1,3})\s*\}|\|\s*([A-Z]{2})\s*\|"
)
_PREFIXED = re.compile(r"(?<=\d)\s*([kMGmnμ])\s+(?=Ω|(?<=μ )(?:m|s|g|l|L|A|C|F|V|W|J)(?![a-zA-Z]))")
_SPACING = re.compile(
    r"\\[,;:> ]|~|\\q?quad\b|\\\\(?![a-zA-Z])|\\(?:displaystyle|textstyle|limits|left|right|[bB]igg?[lr]?)(?![a-zA-Z])"
)

_SPELLINGS = (  # variants of a sign -> the sign
    (re.compile(r">="), "≥"),
    (re.compile(r"(?<=[A-Z]{2})\s*//\s*(?=[A-Z]{2})"), " ∥ "),
    (re.compile(r"<="), "≤"),
    (re.compile(r"(?<![\d!])!="), "≠"),  # not in "5!=120"
    (re.compile(r"(?<![^\W\d_])pi(?![^\W_])"), "π"),
    (re.compile(r"(?:(?<=[(\[,])|(?<=[(\[,] )|\A)\+\s*(?=∞|inf)"), ""),
    (re.compile(r"(?<![^\W_])inf(?:inity)?(?![^\W_])", re.IGNORECASE), "∞"),
)
_INSIDE_BRACKETS = re.compile(r"(?<=[(\[{⟨])\s+|\s+(?=[)\]}⟩])")
_VECTOR = re.compile(r"<\s*([^<>]*,[^<>]*?)\s*>")

_LEAD_IN = re.compile(
    r"""(?: (?:so|thus|therefore|hence) ,? \s+
          | (?:(?:the|my|our) \s+)? (?:(?:final|correct|right|best) \s+)*
            (?:(?:answers?|results?|solutions?(?:\ set)?|ans) \s* (?:is|are|would\ be|:|=) (?![a-z])
              | answer \s+ (?=[^\sa-z(]) | ans\.? \s+ (?=\S) )
          | (?:正确)? 答案 \s* (?:是|为|選|选|:)? | [应應故所以]* (?:选|選) [择擇]? (?:项|項)? \s* :?
          | i \s+ (?:(?:would|will)\s+)? (?:choose|pick|select|go\ with) (?![a-z])
          | (?:it \s+ is|it's|there \s+ (?:is|are)|that \s+ is) (?![a-z])
          | (?:about|around|roughly|approximately|approx\.?|exactly) (?![a-z])
          | [≈~=:→⇒∴]
        ) \s*""",
    re.IGNORECASE | re.VERBOSE,
)
_PRAISE = re.compile(  # not "(right)", which may be a direction
    r"(?<=\S)\s*\((?:(?:the )?correct(?: answer| option| choice)?|the right (?:answer|option|choice))\)\Z",
    re.IGNORECASE,
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
    if any(bracket in text for bracket in "([{⟨<"):
        text = _VECTOR.sub(r"⟨\1⟩", _INSIDE_BRACKETS.sub("", text))
    while text != (stripped := _strip_ends(text)):
        text = stripped
    return text


def _without_unicode(text: str) -> str:
    """Unify Unicode variants: ASCII digits, one minus, one quote; fractions and powers are spelled out."""
    if text.isascii() and text.isprintable():
        return text
    text = _CHINESE_AND.sub(" and ", text.translate(_CHARACTERS))
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
    """Remove Markdown emphasis, answer tags and math delimiters. Of boxes, keep only the contents of the last."""
    if "\\boxed" in text or "\\fbox" in text:
        text = _boxed(text)
    for pattern, replacement in _EMPHASIS:
        text = pattern.sub(replacement, text)
    for delimiter in ("\\(", "\\)", "\\[", "\\]", "$$"):
        text = text.replace(delimiter, " ")
    if text.replace("\\$", "").count("$") % 2 == 0:  # pairs delimit math; an odd number means a currency
        text = re.sub(r"(?<!\\)\$", " ", text)
    return text


def _boxed(text: str) -> str:
    """The content of the last box, together with those of the boxes just before it in the same statement."""
    contents: list[str] = []
    end = 0
    for box in _BOX.finditer(text):
        if box.start() < end:  # in another box
            continue
        between = text[end : box.start()]
        content = _braced(text, box.end() - 1)
        if len(between) > _LONGEST_GAP or _NEW_ANSWER.search(between):
            contents = []
        end = box.end() + len(content) + 1
        if content and content not in contents:
            contents.append(content)
    return ", ".join(contents) or text


def _braced(text: str, start: int) -> str:
    """The text from the brace at `start` to its closing brace, or to the end of the text."""
    depth = 0
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + 1 : position]
    return text[start + 1 :]


def _listed(matrix: re.Match[str]) -> str:
    """A matrix as the list of its rows, a column as the list of its cells: ⟨⟨1, 2⟩, ⟨3, 4⟩⟩ and ⟨1, 2⟩."""
    rows = [", ".join(cell.strip() for cell in row.split("&")) for row in matrix["cells"].split("\\\\") if row.strip()]
    column = len(rows) > 1 and "&" not in matrix["cells"]
    return f"⟨{', '.join(rows if column else [f'⟨{row}⟩' for row in rows])}⟩"


def _without_latex(text: str) -> str:
    """Replace LaTeX commands for text, spacing, fractions, roots and symbols by plain notation. Other commands stay."""
    if not any(mark in text for mark in "\\√^{|μ") and "sqrt" not in text:
        return text
    if "\\begin" in text:
        if matrix := _MATRIX.fullmatch(text.strip()):
            text = _listed(matrix)
        elif _LAYOUT.search(text):
            text = _NEW_ROW.sub(
                lambda row: " = " if "=" in row[0] else ", ", _LAYOUT.sub(" ", text).strip().removesuffix("\\\\")
            ).replace("&", "")
    text = _THIN_SPACE.sub(",", text).replace("\\!", "").replace("{,}", ",")
    text = _SEGMENT.sub(lambda match: match[1] or match[2], text)
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
    return _PREFIXED.sub(r" \1", text.replace("\\{", "{").replace("\\}", "}").replace("^°", "°"))


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
    if text.endswith("!") and re.search(r"(?:[a-zA-Z]{2}|^[A-H])!+$", text):  # "yes!", "B!", but not "5!" or "n!"
        text = text.rstrip("!")
    if text.endswith(")"):
        text = _PRAISE.sub("", text)
    return text.strip("*`").rstrip(" .,;:?\\")
