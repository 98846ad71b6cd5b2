"""The rows that steps pass on, each defined once as a TypedDict; the Arrow schemas are derived from them.

Image bytes are stored in the row, as in the `datasets` library.
"""

from typing import Annotated, Any, NamedTuple, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import pyarrow as pa

Row = dict[str, Any]  # a row of any dataset: column -> value
Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]


class Fault(NamedTuple):
    """Why a row cannot be used: the kind, which is counted, and the details."""

    kind: str
    detail: str


class ImageFile(TypedDict):
    """An encoded image."""

    bytes: "bytes"
    path: str


class Message(TypedDict):
    """A turn of a conversation."""

    role: str
    content: str


class Response(TypedDict):
    """A sampled answer."""

    text: str
    token_count: Int32
    finish_reason: str
    accuracy: Float32
    logprob: Float32  # sum over the answer's tokens, under the distribution that was sampled from


class SftRow(TypedDict):
    """A conversation of the warm-up data."""

    qid: str
    messages: list[Message]
    images: list[ImageFile]
    source: str  # the name of the source


class QuestionRow(TypedDict):
    """A question for reinforcement learning."""

    qid: str
    problem: str
    answer: str
    key_words: list[str]
    images: list[ImageFile]
    extra: str  # the other columns of the source, a JSON object
    source: str  # the name of the source


class RolloutRow(QuestionRow):
    """A question with its sampled answers."""

    responses: list[Response]


class SplitRow(QuestionRow):
    """A question with its difficulty: `correct` of `samples` answers are correct."""

    difficulty: str
    correct: Int32
    samples: Int32


class AnswerRow(TypedDict):
    """An answer to a question of a benchmark, with its scores; None where a score needs data that is missing."""

    benchmark: str
    qid: str
    question: str
    answer: str
    category: str
    response: str
    given: str  # the final answer in the response
    finish_reason: str
    response_tokens: Int32
    correct: Float32
    format: Float32 | None
    clip: Float32 | None
    keyword: Float32 | None
    images: list[ImageFile]


class RejectedRow(TypedDict):
    """A row that is not used: the row as JSON, and the reason."""

    qid: str
    row: str
    reason: str


def schema_of(row: type) -> pa.Schema:
    """The Arrow schema of a TypedDict.

    >>> schema_of(Message)
    role: string
    content: string
    """
    return pa.schema(_fields(row))


def _fields(row: type) -> list[tuple[str, pa.DataType]]:
    return [(name, _arrow(kind)) for name, kind in get_type_hints(row, include_extras=True).items()]


def _arrow(kind: type) -> pa.DataType:
    arguments = get_args(kind)
    if type(None) in arguments:  # every Arrow column may hold nulls
        return _arrow(arguments[0])
    if get_origin(kind) is list:
        return pa.list_(_arrow(arguments[0]))
    if get_origin(kind) is Annotated:
        return arguments[1]
    return pa.struct(_fields(kind)) if is_typeddict(kind) else _SCALARS[kind]


_SCALARS: dict[type, pa.DataType] = {str: pa.string(), bytes: pa.binary()}
SFT_SCHEMA = schema_of(SftRow)
RL_SCHEMA = schema_of(QuestionRow)
ROLLOUT_SCHEMA = schema_of(RolloutRow)
SPLIT_SCHEMA = schema_of(SplitRow)
ANSWER_SCHEMA = schema_of(AnswerRow)
REJECTED_SCHEMA = schema_of(RejectedRow)
