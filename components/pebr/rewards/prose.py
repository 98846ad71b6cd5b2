"""The guard against word lists: it decides which words of a description count for the keyword reward.

Without it, a list of all likely key words would score without describing the image. English prose is connected by
function words: prepositions, forms of "to be", pronouns, the verbs of descriptions. About a quarter of the words in
prose are such binding words. A list has none, or only articles, "and" and "no" between its items (`LOOSE_WORDS`).

Nothing counts in a description that is a word list:

- it has more than `SHORT` words, and either less than `LEAST_BINDING_SHARE` of them are binding words, or one binding
  word alone makes up more than `MOST_OF_ONE` of them ("circle of square of"); or
- it has `LEAST_WORDS` or more words, and less than `LEAST_FUNCTION_SHARE` of them are function words.

In other descriptions, these words do not count:

- words in a run of more than `LONGEST_RUN` words without a binding word;
- distinct content words after the first `MOST_WORDS`.

Parts that state data (`pebr.rewards.stated_data`) are not judged, and if at least half of the words are in such parts,
neither are up to `BESIDE_DATA` other words. If at least half of the distinct content words are
words of the key words, all words count, however terse the description is. The guard cannot detect short lists and false
sentences; the CLIP reward penalises those.
"""

from collections import Counter
from collections.abc import Sequence

from pebr.english.lexicon import FUNCTION_WORDS, LOOSE_WORDS

LEAST_WORDS = 8
LEAST_FUNCTION_SHARE = 0.08
SHORT = 20
LEAST_BINDING_SHARE = 0.12
MOST_OF_ONE = 0.4
LONGEST_RUN = 16
MOST_WORDS = 120
BESIDE_DATA = 14

_BINDING = FUNCTION_WORDS - LOOSE_WORDS


def words_that_count(words: Sequence[str], data: Sequence[bool], wanted: frozenset[str]) -> list[bool]:
    """Whether each word of a description counts, (N,).

    Args:
        words: of the description, folded, (N,).
        data: whether each word is in a part that states data, (N,).
        wanted: the words of the key words, folded.

    >>> words_that_count("circle square dog cat tree car red blue".split(), [False] * 8, frozenset({"circle"}))[:2]
    [False, False]
    """
    content = [word for word in words if word not in FUNCTION_WORDS]
    if len(set(content)) <= 2 * len(wanted.intersection(content)):
        return [True] * len(words)
    judged = [word for word, stated in zip(words, data, strict=True) if not stated]
    beside = BESIDE_DATA if 2 * len(judged) <= len(words) else 0
    if len(judged) > beside and _is_word_list(judged, sum(word not in FUNCTION_WORDS for word in judged)):
        return [False] * len(words)
    first = set(list(dict.fromkeys(content))[:MOST_WORDS])
    counted: list[bool] = []
    run: list[bool] = []
    for word, stated in [*zip(words, data, strict=True), ("", True)]:
        if not stated and word not in _BINDING:
            run.append(word in first or word in LOOSE_WORDS)
            continue
        counted += run if len(run) <= LONGEST_RUN else [False] * len(run)
        counted.append(word in first or word in FUNCTION_WORDS)
        run = []
    return counted[:-1]


def _is_word_list(words: Sequence[str], content: int) -> bool:
    """Whether there are too many words, and too few binding words among them, for prose."""
    binding = [word for word in words if word in _BINDING]
    bare = len(words) >= LEAST_WORDS and len(words) - content < LEAST_FUNCTION_SHARE * len(words)
    if len(words) <= SHORT or bare:
        return bare
    commonest = max(Counter(binding).values(), default=0)
    return len(binding) < LEAST_BINDING_SHARE * len(words) or commonest > MOST_OF_ONE * len(words)
