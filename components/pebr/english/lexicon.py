"""Word lists for the keyword rules; all words are lower-case and, if they are nouns, singular."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\S+", text))


# Words that connect a sentence: articles, pronouns, prepositions, conjunctions, auxiliaries, and the few verbs that
# almost every description of an image uses.
FUNCTION_WORDS = _words(
    """
    a an the this that these those it its they them their there here he she his her we our you your i my me us
    which who whom whose what where when how each every both either neither some any all none no not only also
    one's another other such same own
    of in on at by to from with without for as into onto over under above below between among beside behind near
    around across through along within inside outside against toward towards upon off up down out about per than
    next front after before during since until while because although though if unless so then
    and or but nor yet
    is are was were be been being am isn aren has have had having do does did can could may might must shall should
    will would
    show shows shown showing depict depicts depicted display displays displayed contain contains containing include
    includes including illustrate illustrates illustrated represent represents represented indicate indicates
    indicated present presents consist consists appear appears see seen
    labeled labelled located positioned placed arranged given drawn marked titled called named featuring feature
    features
    very more most less least much many few several various respectively too just
    """
)

# Function words that do not connect a sentence: lists also have them ("a circle and a square and no cross").
LOOSE_WORDS = _words(
    """
    a an the this that these those and or nor but no not none neither either any some all each every both another other
    such also only then just too here there plus
    """
)

# Nouns and adjectives that do not describe the image.
UNDESCRIPTIVE = _words(
    """
    image picture photo photograph figure illustration scene visual view thing something anything nothing part kind
    type example overall following clear clearly visible respectively total
    """
)

# Nouns that look like verb forms.
NOUNS_IN_ING = _words(
    """
    building ceiling clothing drawing earring painting spring string swing evening morning wedding railing awning siding
    opening crossing marking setting reading writing meeting parking icing frosting stuffing topping dressing bedding
    """
)

# Relations of place, longest first so that "to the left of" is not read as "left".
RELATIONS = tuple(
    sorted(
        (
            tuple(phrase.split())
            for phrase in (
                "left of", "right of", "in front of", "on top of", "next to", "top left", "top right", "bottom left",
                "bottom right", "upper left", "upper right", "lower left", "lower right", "in the middle",
                "at the center", "at the centre", "above", "below", "behind", "beside", "between", "inside", "outside",
                "under", "parallel to", "perpendicular to", "tangent to", "opposite",
            )
        ),
        key=lambda phrase: (-len(phrase), phrase),
    )
)  # fmt: skip
