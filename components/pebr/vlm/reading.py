"""Two ways to read the final answer of a response.

The strict reading is that of `pebr.vlm.response`: the answer stands under its header, in the exact form. The lenient
reading also accepts other headers ("**Final Answer:**", "## Answer"), `<answer>` tags, `\\boxed{...}` and a sentence
"The answer is ...". It ignores end tokens, and turns that the model writes after its answer. Evaluation uses it, so
that an untrained model is scored on what it knows and not on its format, which has a measure of its own.
"""

import re
import unicodedata
from typing import NamedTuple

from pebr.answers.equality import is_answer
from pebr.vlm.families import FAMILIES
from pebr.vlm.response import parse
from pebr.vlm.settings import Reading


class FinalAnswer(NamedTuple):
    """The final answer of a response, "" for none; `strict` is False if only the lenient reading finds it so."""

    text: str
    strict: bool


_MARKS = ("</s>", "<eos>", "<|eot_id|>", *(m for f in FAMILIES for m in (f.end_of_turn, f.end_of_text, *f.chat_marks)))
_END = re.compile("|".join(re.escape(mark) for mark in dict.fromkeys(_MARKS)))
_TURN = re.compile(r"\n[ \t]*+(?:user|human|assistant|system)[ \t]*+:?[ \t]*+(?=\n|\Z)", re.IGNORECASE)
_NUMBER_SIGNS = re.compile(r"(?:\\#|＃){1,6}|<h[1-6](?:\s[^<>]{0,40})?>", re.IGNORECASE)
_CLOSED_HEADING = re.compile(r"</h[1-6]>", re.IGNORECASE)
_HEADING = re.compile(r"^[ \t>]*+(?:\*\*[ \t]*+)?\#{1,6}", re.MULTILINE)
_HEADER = re.compile(
    r"""(?: (?P<sign>\#{1,6})[ \t]*+ | ^[ \t>]*+(?:[-*•][ \t]++)? ) (?:\*{1,2}|__)? [ \t]*+
    (?:(?:my|the)[ \t]++)? (?: (?:final|correct)[ \t]++answer | answer ) (?:[ \t]++is)?
    [ \t]*+ (?: (?:\*{1,2}|__)?[ \t]*+[:：](?:[ \t]*+(?:\*{1,2}|__)(?=\s|\Z))? | (?:\*{1,2}|__)[ \t]*+(?=\n|\Z)
              | (?(sign)(?<=is[ \t])(?=\S)|(?!)) | (?=\n) )""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.IGNORECASE | re.DOTALL)
_STATED = re.compile(r"\b(?:answer|option|choice)\s++(?:is|would\s++be|must\s++be)\b\s*+:?\s*+", re.IGNORECASE)
_BULLET = re.compile(r"(?:[-*•–—>][ \t]++|—)+")
_SENTENCE_END = re.compile(r"[.!?](?:\*\*)?(?=\s|\Z)(?!\s*\d)")
_CONTENT = re.compile(r"[^\W_]|[∞∅]")
_LONG = 500  # characters of an answer with explanations
_LONGEST_BARE_ANSWER = 60  # characters of a response that is nothing but an answer


def read_answer(response: str, reading: Reading = "lenient") -> FinalAnswer:
    """The final answer of a response. The time is linear in the length of the text.

    >>> read_answer("**Final Answer:** 7<|im_end|>"), read_answer("**Final Answer:** 7", "strict")
    (FinalAnswer(text='7', strict=False), FinalAnswer(text='', strict=True))
    >>> read_answer("So the answer is B."), read_answer("### The final answer is: B")
    (FinalAnswer(text='B', strict=False), FinalAnswer(text='B', strict=True))
    """
    exact = parse(response).answer
    if reading == "strict":
        return FinalAnswer(exact, strict=True)
    text = _lenient(response)
    return FinalAnswer(text, strict=text == exact)


def _lenient(response: str) -> str:
    """The final answer by the lenient reading, "" for none."""
    text = _own_turn(response)
    if exact := parse(text).answer:
        return _bare(exact)
    text = _CLOSED_HEADING.sub(" ", _NUMBER_SIGNS.sub("### ", text))
    if not text.isascii():
        text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    for found in (_under_header(text), _in_tags(text), _line_of_box(text), _stated(text)):
        if answer := _bare(found):
            return answer
    whole = text.strip()
    return whole if len(whole) <= _LONGEST_BARE_ANSWER and "\n" not in whole and is_answer(whole) else ""


def _own_turn(response: str) -> str:
    """The response up to the first end token or invented turn after some text."""
    start = re.search(r"\S", response)
    begin = start.end() if start else 0
    ends = [match.start() for pattern in (_END, _TURN) if (match := pattern.search(response, begin))]
    return response[: min(ends, default=len(response))]


def _under_header(text: str) -> str:
    """The text after the last header of an answer; "" without a header."""
    headers = list(_HEADER.finditer(text))
    if not headers:
        return ""
    return text[headers[-1].end() :]


def _in_tags(text: str) -> str:
    """The content of the last `<answer>` tags; "" without any."""
    return (_TAG.findall(text) or [""])[-1]


def _line_of_box(text: str) -> str:
    """The line of the last box, from its start to the end of the paragraph; "" without a box."""
    box = text.rfind("\\boxed")
    return text[text.rfind("\n", 0, box) + 1 :].partition("\n\n")[0] if box >= 0 else ""


def _stated(text: str) -> str:
    """The rest of the last sentence "The answer is ..."."""
    ends = [match.end() for match in _STATED.finditer(text)]
    line = text[ends[-1] :].partition("\n")[0] if ends else ""
    end = _SENTENCE_END.search(line)
    return line[: end.start()] if end else line


def _bare(answer: str) -> str:
    """An answer up to the next heading with content, without number signs and a bullet before it.

    Of a long text, its last box or else its first paragraph is the answer.
    """
    answer = next(filter(_CONTENT.search, _HEADING.split(answer)), "").strip()
    if bullet := _BULLET.match(answer):
        answer = answer[bullet.end() :].strip()
    return answer if len(answer) <= _LONG else (_line_of_box(answer) or answer.partition("\n\n")[0]).strip()
