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

# Spellings that mean the same; plural and other forms of a word follow from its singular.
VARIANTS = dict(
    pair.split("=")
    for pair in re.findall(
        r"\S+",
        """
        grey=gray colour=color coloured=colored multicoloured=multicolored centre=center centred=centered metre=meter
        centimetre=centimeter millimetre=millimeter kilometre=kilometer litre=liter theatre=theater labelled=labeled
        tyre=tire kerb=curb moustache=mustache jewellery=jewelry pyjama=pajama doughnut=donut aeroplane=airplane
        programme=program catalogue=catalog harbour=harbor neighbour=neighbor grey-haired=gray-haired axe=ax
        beneath=under underneath=under bike=bicycle photograph=photo
        """,
    )
)

# Words that deny what follows, up to the next function word that is not in `CARRY`.
DENIALS = _words("no not without neither nor lack lacks lacking absence never")
CARRY = _words(
    """
    a an the any of or other such single have has having show shows shown contain contains include includes feature
    features depict depicts display displays see seen be been being appear appears there
    """
)
# A clause that ends in one of these after "is" or "are" denies its subject; after "not", the words of the second set.
ABSENT = _words("missing absent lacking nowhere gone")
PRESENT = _words("visible shown present seen there included depicted drawn displayed pictured")

# Verbs that no noun looks like, in the forms that descriptions have.
VERBS = _words(
    """
    reaches reach reached holds hold held lies lie lay divides divide compares compare rises rise falls fell stays stay
    stayed opens opened crosses intersects intersect stands stood sits sit sat walks wears wear wore carries carry rides
    drives flies eats drinks leans hangs hung covers surrounds surround connects connect joins touches touch meets forms
    extends extend begins increases increase decreases decrease grows grow remains remain spans span bisects bisect
    separates separate encloses enclose supports describes describe compared followed goes gets makes takes gives comes
    becomes belongs belong moves appears consists overlaps overlap depends says reads tells faces turns opens closes
    slopes equals equal rests perched cut
    """
)
# Words that are verbs after a noun and nouns after a number or an adjective.
VERBS_OR_NOUNS = _words("points lists ranges measures cuts plays runs drops ends starts shows rests looks passes peaks")
COMPOUNDING = _words("data grid end decimal focal price mountain bus check two three four five six all red blue green")

# Nouns that look like verb forms.
NOUNS_IN_ING = _words(
    """
    building ceiling clothing drawing earring painting spring string swing evening morning wedding railing awning siding
    opening crossing marking setting reading writing meeting parking icing frosting stuffing topping dressing bedding
    """
)

# Nouns and adjectives that look like adverbs.
NOUNS_IN_LY = _words(
    "family butterfly jelly lily belly assembly italy daily holy curly early friendly lonely ugly july"
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
