"""The keyword reward: which share of the reference's key words the image description holds, and where lists come from.

A key word is found as a whole word or phrase, never inside another word: "cat" is not in "category", "1" not in "10".
Case, accents, hyphens, plurals and number words do not matter ("seven circles" holds "7 circle"); the order of a
phrase's words does. Only the image description is read.

A list of all words that might be asked for collects nothing: `pebr.rewards.prose` says which words are read.
"""

from collections.abc import Sequence

from pebr.english.key_words import fold_key_word, fold_words, is_cjk
from pebr.rewards.batch import RewardBatch
from pebr.rewards.prose import read_words


def keyword_reward(batch: RewardBatch) -> list[float]:
    """The share of the key words found in the image description; (S,) in [0, 1]."""
    return [
        keyword_share(key_words, response.description)
        for key_words, response in zip(batch.key_words, batch.parsed, strict=True)
    ]


def keyword_share(key_words: Sequence[str], description: str) -> float:
    """The share of the different key words that a description holds; 0 without key words, or for a heap of words.

    >>> keyword_share(["7 circles", "cat", "CIRCLE"], "There are seven circles in this category.")
    0.6666666666666666
    """
    wanted = {phrase for key_word in key_words if (phrase := fold_key_word(key_word))}
    if not wanted:
        return 0.0
    words = fold_words(description)
    read = words if is_cjk(words) else read_words(words, frozenset(word for phrase in wanted for word in phrase))
    text = f" {' '.join(read)} "
    return sum(f" {' '.join(phrase)} " in text for phrase in wanted) / len(wanted)
