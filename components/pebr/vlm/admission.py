"""Which rows are asked: each becomes an encoded question, or is refused with the reason before anything is sampled.

Lengths come by arithmetic from the images' sizes, so that a prompt too long costs no decoding; nothing is shortened.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pebr.data.images import ImageError, decode, size_of
from pebr.sampling.contract import Question
from pebr.vlm.encoding import Encoder
from pebr.vlm.prompt import PromptError


class Refused(NamedTuple):
    """A row that is not asked."""

    reason: str  # with the value
    group: str  # what it is counted under


def admit(
    row: Mapping[str, Any], encoder: Encoder, max_prompt_tokens: int, first_of_its_name: bool
) -> Question | Refused:
    """Encode a row's question.

    Args:
        row: of the RL dataset.
        encoder: of the model.
        max_prompt_tokens: a longer prompt is refused.
        first_of_its_name: no earlier row has this row's qid; a second one would draw the first one's random numbers.
    """
    if not first_of_its_name:
        return Refused(f"qid {row['qid']}: an earlier row has the same", "qid not unique")
    data = [image["bytes"] or b"" for image in row["images"] or ()]
    try:
        length = encoder.prompt_length(row["problem"], [size_of(image) for image in data])
        if length > max_prompt_tokens:
            return Refused(f"{length} prompt tokens, at most {max_prompt_tokens} are asked", "prompt too long")
        return Question(row["qid"], encoder.prompt(row["problem"], [decode(image) for image in data]))
    except PromptError as error:
        return Refused(str(error), "question cannot be asked")
    except ImageError as error:
        return Refused(str(error), "image cannot be used")
