"""The reward formulas of the authors' released code, for comparison. The other modules have the corrected formulas.

First, white space around `<`, `>` and `/` is removed from the response. Then the formulas search the whole response and
ignore sections: a header quoted from the prompt counts like a real one, a key word inside another word counts, and the
first final answer counts. Two defects are not repeated: a scorer that fails raises an error, where the released code
gives 0; and `pebr.answers.check` compares the answers.
"""

import re

from pebr.answers.check import AnswerChecker
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import COSINE_SCALE, ClipScorer, first_image_cosines
from pebr.rewards.length import FREE_TOKENS

_HEADERS = [
    re.compile(rf"###\s*{name}:", re.IGNORECASE)
    for name in ("Image Description", "Rationales", r"Step\s*1", "The final answer is")
]
_DESCRIPTION, _RATIONALES = _HEADERS[:2]
_ANSWER = re.compile(r"### The final answer is:\s*([^\n]*)")
_SPACED = re.compile(r"(?:(?<!\s)\s+)?([<>/])\s*")  # as \s*(<|>|/)\s*, in linear time


def cleaned(batch: RewardBatch) -> list[str]:
    """The responses as the released code reads them: without white space around `<`, `>` and `/`; (S,)."""
    return [_SPACED.sub(r"\1", text) for text in batch.responses]


def clip_reward(batch: RewardBatch, scorer: ClipScorer) -> list[float]:
    """min(1, cos / 0.4) of the first image and the description, which may be empty: (S,), can be negative."""
    cosines = first_image_cosines(batch, [description(text) for text in cleaned(batch)], scorer)
    return [min(1.0, cosine / COSINE_SCALE) for cosine in cosines]


def keyword_reward(batch: RewardBatch) -> list[float]:
    """The share of the key words that are substrings of the whole response, ignoring case: (S,)."""
    return [
        sum(word.lower() in text.lower() for word in words) / len(words) if words else 0.0
        for words, text in zip(batch.key_words, cleaned(batch), strict=True)
    ]


def format_reward(batch: RewardBatch) -> list[float]:
    """1 if the four headers occur anywhere, else 0: (S,)."""
    return [float(all(header.search(text) for header in _HEADERS)) for text in cleaned(batch)]


def length_reward(batch: RewardBatch) -> list[float]:
    """1 for a response of at most 512 tokens, else 512 / tokens: (S,)."""
    return [1.0 if tokens <= FREE_TOKENS else FREE_TOKENS / tokens for tokens in batch.response_tokens]


def accuracy_reward(batch: RewardBatch, checker: AnswerChecker) -> list[float]:
    """1 if the text on the line of the first final-answer header equals the reference, else 0: (S,).

    Without the header, the whole response is the answer.
    """
    found = [(_ANSWER.search(text), text) for text in cleaned(batch)]
    given = [match[1].strip() if match else text.strip() for match, text in found]
    return [float(right) for right in checker.check(given, batch.references)]


def description(text: str) -> str:
    """The text between the first description header and the next rationales header; "" if one is missing."""
    start = _DESCRIPTION.search(text)
    end = _RATIONALES.search(text, start.end()) if start else None
    return text[start.end() : end.start()].strip() if start and end else ""
