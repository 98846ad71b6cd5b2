"""The input of a reward: the answers of one training step, one row per sample; and the error of a reward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

from pebr.vlm.response import Response, parse


@dataclass(frozen=True)
class RewardBatch:
    """S samples. Every column has S entries; entry i belongs to sample i.

    The answers of one question repeat the question's entries. They can share the image objects: nothing is copied. A
    reward cannot change a column, which the next reward reads.
    """

    qids: Sequence[str]
    questions: Sequence[str]
    references: Sequence[str]
    responses: Sequence[str]
    response_tokens: Sequence[int]  # tokens of the whole response
    key_words: Sequence[Sequence[str]]
    images: Sequence[Sequence[bytes]]  # encoded (PNG, JPEG, ...)
    extra: Mapping[str, Sequence[object]] = field(default_factory=dict)  # further columns of the dataset, (S,) each
    # What the model answers from the response's description alone; () if no reward needs it
    retold: Sequence[str] = ()

    def __post_init__(self) -> None:
        absent = {"extra"} if self.retold else {"extra", "retold"}
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self) if f.name not in absent}
        lengths |= {f"extra[{name!r}]": len(column) for name, column in self.extra.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of a reward batch differ in length: {lengths}")
        for name in lengths.keys() & self.__dict__.keys():
            object.__setattr__(self, name, tuple(map(_frozen, getattr(self, name))))
        object.__setattr__(self, "extra", {name: tuple(column) for name, column in self.extra.items()})

    def __len__(self) -> int:
        return len(self.qids)

    @cached_property
    def parsed(self) -> tuple[Response, ...]:
        """The sections of each response."""
        return tuple(parse(response) for response in self.responses)

    def sample(self, index: int) -> "RewardBatch":
        """A batch of this sample only."""
        rows = slice(index, index + 1)
        columns = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "extra"}
        return RewardBatch(**columns, extra={name: column[rows] for name, column in self.extra.items()})


def _frozen(entry: object) -> object:
    return tuple(entry) if isinstance(entry, list) else entry


class RewardError(RuntimeError):
    """A component cannot score a sample. The run stops: a failure must never look like a low reward.

    The message names the component, the sample (its question id) and the cause.
    """


Component = Callable[[RewardBatch], list[float]]  # one value per sample, (S,)
