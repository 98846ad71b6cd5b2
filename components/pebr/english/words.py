"""English number words as digits, and plural nouns as singular, by fixed rules."""

import re
from functools import lru_cache

NUMBERS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12,
}  # fmt: skip
_TENS = {word for word, value in NUMBERS.items() if value >= 20}
_ONES = {word for word, value in NUMBERS.items() if 1 <= value <= 9}

# Plurals that no rule below covers, and words whose final s does not mark a plural.
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "oxen": "ox", "vertices": "vertex", "indices": "index", "axes": "axis",
    "matrices": "matrix", "radii": "radius", "foci": "focus", "leaves": "leaf", "halves": "half", "knives": "knife",
    "shelves": "shelf", "wolves": "wolf", "lives": "life", "wives": "wife", "loaves": "loaf", "calves": "calf",
    "inches": "inch", "data": "datum", "dice": "die", "bases": "base", "cases": "case", "houses": "house",
    "horses": "horse", "noses": "nose", "roses": "rose", "vases": "vase", "nurses": "nurse", "purses": "purse",
    "pauses": "pause", "causes": "cause", "phrases": "phrase", "courses": "course", "mazes": "maze",
    "shoes": "shoe", "toes": "toe", "canoes": "canoe", "pies": "pie", "ties": "tie", "cookies": "cookie",
    "movies": "movie", "buses": "bus", "gases": "gas", "lenses": "lens", "axe": "axe",
}  # fmt: skip
_NO_PLURAL = {
    "glasses", "scissors", "series", "species", "news", "lens", "bus", "gas", "plus", "minus", "yes", "this", "is",
    "was", "has", "as", "its", "us", "always", "perhaps", "across", "towards", "chess", "christmas", "canvas", "atlas",
    "bias", "alias", "pancreas", "cos", "besides", "sometimes", "various", "previous", "famous", "does", "less", "vs",
}  # fmt: skip


@lru_cache(maxsize=65536)
def singular(word: str) -> str:
    """The singular of a lower-case English noun. A word that no rule covers is returned unchanged.

    >>> [singular(word) for word in ("circles", "boxes", "cherries", "glass", "vertices")]
    ['circle', 'box', 'cherry', 'glass', 'vertex']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 3 or not word.endswith("s") or word in _NO_PLURAL or word.endswith(("ss", "us", "is", "ous")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "oes")):
        return word[:-2]
    return word[:-1]


def fold_numbers(words: list[str]) -> list[str]:
    """Replace number words by digits: the run ["one", "hundred", "and", "five"] becomes one word, "105".

    >>> fold_numbers(["twenty", "three", "red", "cars", "and", "two", "dozen", "bikes"])
    ['23', 'red', 'cars', 'and', '24', 'bikes']
    """
    folded: list[str] = []
    position = 0
    while position < len(words):
        value, length = _number_at(words, position)
        folded.append(words[position] if value is None else str(value))
        position += length
    return folded


def _number_at(words: list[str], start: int) -> tuple[int | None, int]:
    """The value and the length of the longest run of number words from `start`; (None, 1) if there is none.

    Within a run, ones may follow tens ("twenty three"), a scale multiplies the number before it, a larger scale starts
    the next group, and "and" may follow a scale ("one hundred and five").
    """
    total = group = 0
    position = start
    last = ""
    while position < len(words):
        word = words[position]
        if word in NUMBERS and (not last or last in SCALES or (last in _TENS and word in _ONES)):
            group += NUMBERS[word]
        elif word in SCALES and last and last not in SCALES:
            if word in {"hundred", "dozen"}:
                group *= SCALES[word]
            else:
                total, group = total + group * SCALES[word], 0
        elif word in SCALES and last == "hundred":
            total, group = total + group * SCALES[word], 0
        elif word == "and" and last in SCALES and last != "dozen" and words[position + 1 : position + 2] and (
            words[position + 1] in NUMBERS
        ):  # fmt: skip
            position += 1
            continue
        else:
            break
        last = word
        position += 1
    return (None, 1) if not last else (total + group, position - start)


_SPLIT_COMPOUND = re.compile(rf"\b({'|'.join(sorted(_TENS))})-({'|'.join(sorted(_ONES))})\b")


def split_number_compounds(text: str) -> str:
    """Write "twenty-three" as "twenty three" in a lower-case text; other hyphens stay."""
    return _SPLIT_COMPOUND.sub(r"\1 \2", text)
