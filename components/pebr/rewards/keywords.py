"""The keyword reward: the share of the question's key words that the image description contains.

A key word matches whole words only: "cat" is not in "category", "1" is not in "10". Case, accents, hyphens, plurals and
number words do not matter: "seven circles" contains "7 circle". The order of the words in a phrase matters. Only the
image description counts.

A description that only lists likely words scores 0: `pebr.rewards.prose` decides which words count.
"""

from collections.abc import Sequence

from pebr.english.key_words import fold_key_word, fold_words, is_cjk
from pebr.rewards.batch import RewardBatch
from pebr.rewards.prose import words_that_count


def keyword_reward(batch: RewardBatch) -> list[float]:
    """The share of the key words that the image description contains: (S,) in [0, 1]."""
    return [
        keyword_share(key_words, response.description)
        for key_words, response in zip(batch.key_words, batch.parsed, strict=True)
    ]


def keyword_share(key_words: Sequence[str], description: str) -> float:
    """The share of the distinct key words that a description contains; 0 without key words, or for a mere word list.

    >>> keyword_share(["7 circles", "cat", "CIRCLE"], "There are seven circles in this category.")
    0.6666666666666666
    """
    wanted = {phrase for key_word in key_words if (phrase := fold_key_word(key_word))}
    if not wanted:
        return 0.0
    words = fold_words(description)
    if not is_cjk(words):
        words = words_that_count(words, frozenset(word for phrase in wanted for word in phrase))
    text = f" {' '.join(words)} "
    return sum(f" {' '.join(phrase)} " in text for phrase in wanted) / len(wanted)
