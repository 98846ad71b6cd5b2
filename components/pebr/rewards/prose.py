"""The guard against listing: which words of a description the keyword reward reads.

Reciting every word that might be asked for would collect the reward without describing anything. English prose is held
together by function words: prepositions, forms of "to be", pronouns, the verbs that descriptions use. A quarter of its
words bind in this way; a list has none, or only articles, "and" and "no" between its items (`LOOSE_WORDS`). So

- words in a run of more than `LONGEST_RUN` without a binding word are not read;
- a description of more than `SHORT` words of which less than `LEAST_BINDING_SHARE` bind, or of which more than
  `MOST_OF_ONE` are one and the same binding word ("circle of square of"), is a heap: nothing is read;
- nor is one of `LEAST_WORDS` words or more with hardly any function word at all;
- what "no" stands before is not in the picture: it is not read;
- of the different content words the first `MOST_WORDS` are read.

A description whose content words are to a half or more those that are asked for is no heap, however terse it is. What
the guard cannot see, short lists and sentences that are false, is for the CLIP reward to see.
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
UNREAD = "\n"  # stands for words that are not read; no key word has it

_BINDING = FUNCTION_WORDS - LOOSE_WORDS


def read_words(words: Sequence[str], wanted: frozenset[str]) -> list[str]:
    """The words of a description that count, in order, with `UNREAD` in the place of others.

    Args:
        words: the description's, folded.
        wanted: the words of the key words.

    >>> read_words("a red circle is to the left of no square".split(), frozenset({"circle"}))[-3:]
    ['of', 'no', '\\n']
    """
    content = [word for word in words if word not in FUNCTION_WORDS]
    if len(set(content)) <= 2 * len(wanted.intersection(content)):
        return _without_denied(words)
    if _is_heap(words, len(content)):
        return []
    known = set(list(dict.fromkeys(content))[:MOST_WORDS])
    read: list[str] = []
    run: list[str] = []
    for word in [*words, ""]:
        if word and word not in _BINDING:
            run.append(word if word in known or word in LOOSE_WORDS else UNREAD)
            continue
        read += run if len(run) <= LONGEST_RUN else [UNREAD]
        read.append(word)
        run = []
    return _without_denied(read[:-1])


def _is_heap(words: Sequence[str], content: int) -> bool:
    """Whether words are too many, and held together by too little, to be prose."""
    binding = [word for word in words if word in _BINDING]
    bare = len(words) >= LEAST_WORDS and len(words) - content < LEAST_FUNCTION_SHARE * len(words)
    if len(words) <= SHORT or bare:
        return bare
    commonest = max(Counter(binding).values(), default=0)
    return len(binding) < LEAST_BINDING_SHARE * len(words) or commonest > MOST_OF_ONE * len(words)


def _without_denied(words: Sequence[str]) -> list[str]:
    """The words without those from "no" to the next function word."""
    read: list[str] = []
    denied = False
    for word in words:
        if word in FUNCTION_WORDS:
            denied = word == "no"
        read.append(UNREAD if denied and word not in FUNCTION_WORDS else word)
    return read
