"""The keyword reward: key words match whole words of the description only; word lists score 0."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.rewards.keywords import keyword_share
from pebr.toy.world import questions

# reason -> (key word, description that contains it)
FOUND = {
    "the same word": ("circle", "There is a circle."),
    "case": ("Circle", "there is a CIRCLE"),
    "plural in the description": ("circle", "There are circles."),
    "plural in the list": ("circles", "There is a circle."),
    "irregular plural": ("man", "Two men are there."),
    "plural in -es": ("boxes", "It shows a box."),
    "plural in -ies": ("cherry", "It shows cherries."),
    "digits and number words": ("7", "There are seven dogs."),
    "number words and digits": ("seven", "There are 7 dogs."),
    "compound number words": ("23", "There are twenty-three dogs."),
    "thousands separators": ("1000", "It shows 1,000 people."),
    "a phrase": ("red circle", "There is a small red circle."),
    "a phrase with a number": ("2 red circles", "There are two red circles."),
    "hyphens": ("top left", "It is in the top-left corner."),
    "an article in the list": ("the circle", "There is a circle."),
    "accents": ("cafe", "It is a café."),
    "full-width letters": ("ABC", "The triangle is ＡＢＣ."),
    "possessive": ("dog", "It is the dog's bowl."),
    "percent": ("50%", "It is at 50 percent."),
    "degrees": ("90 degrees", "The angle is 90°."),
    "at the start": ("dogs", "Dogs are there."),
    "before punctuation": ("blue", "The bar is blue, and it is high."),
    "ligatures": ("office", "It is an oﬃce."),
    "Chinese, which has no spaces": ("圆形", "图中有一个红色圆形。"),
    "a point named A": ("A", "Point A lies on the circle."),
    "a point named A at the start": ("A", "A and B are points."),
    "the sign of an angle": ("∠EFG", "The angle EFG is 60°."),
    "the name of an angle": ("angle EFG", "∠EFG = 60°"),
    "the sign of a triangle": ("△EFG", "Triangle EFG is shown."),
    "British spelling": ("gray", "There is a grey wall."),
    "American spelling": ("colour", "The color is shown."),
    "a superscript": ("x²", "The curve is y = x^2."),
    "pi": ("pi", "The area is 4π."),
    "an equation in words": ("EF = 6", "Side EF is 6."),
    "a decimal": ("45.5", "It is 45.5, the largest."),
    "a price": ("$3.50", "The price is $3.50."),
    "a negative percentage": ("-2.5%", "It fell by -2.5%."),
    "another word for beside": ("next to", "The dog is beside the cat."),
    "a compound": ("T-shirt", "He wears a tshirt."),
    "a right-angled triangle": ("right triangle", "It is a right-angled triangle."),
    "a sign that says no": ("no parking", 'There is a "No Parking" sign.'),
    "what stands after a denial": ("house", "There is no car in front of the house."),
    "what stands beside a denial": ("truck", "There is no car, but a truck."),
    "not only": ("cat", "There is not only a cat but also a dog."),
    "what is not labelled": ("bar", "The bar is not labeled."),
}
# reason -> (key word, description that does not contain it)
NOT_FOUND = {
    "inside another word": ("cat", "This is a category."),
    "inside another number": ("1", "There are 10 dogs."),
    "a decimal is another number": ("5", "It is 2.5 high."),
    "the words of a phrase apart": ("red circle", "There is a red square and a blue circle."),
    "another order": ("red circle", "There is a circle red as blood."),
    "a phrase across other words": ("2 circles", "There are 2 red circles."),
    "nothing": ("", "There is a circle."),
    "only punctuation": ("...", "There is a circle... or not."),
    "an empty description": ("circle", ""),
    "a negative number": ("5", "The value is -5."),
    "an article": ("A", "This is a cat."),
    "an article at the start": ("A", "A cat sits here."),
    "another decimal": ("45.5", "It is 45.55 high."),
    "a dimension": ("2", "It is a 2x2 grid."),
    "another triangle": ("triangle EFG", "It is triangle EFH."),
    "no": ("car", "There is no car."),
    "not a": ("car", "There is not a car."),
    "isn't": ("car", "There isn't a car."),
    "without": ("hat", "A man without a hat."),
    "missing": ("car", "The car is missing."),
    "not visible": ("car", "The car is not visible here."),
    "not wearing": ("hat", "A man not wearing a hat."),
    "does not have": ("hat", "The man doesn't have a hat."),
    "neither": ("cat", "There is neither a cat nor a dog."),
    "nor": ("dog", "There is neither a cat nor a dog."),
    "no ... or": ("truck", "There are no cars or trucks."),
    "lacks": ("window", "The house lacks windows."),
}


@pytest.mark.parametrize("reason", FOUND)
def test_found(reason: str) -> None:
    assert keyword_share([FOUND[reason][0]], FOUND[reason][1]) == 1.0


@pytest.mark.parametrize("reason", NOT_FOUND)
def test_not_found(reason: str) -> None:
    assert keyword_share([NOT_FOUND[reason][0]], NOT_FOUND[reason][1]) == 0.0


def test_the_share_is_over_different_key_words() -> None:
    assert keyword_share(
        ["circle", "Circles", "square", "tree", ""], "A circle and a square are shown."
    ) == pytest.approx(2 / 3)
    assert keyword_share([], "A circle.") == 0.0


VOCABULARY = (
    "circle square triangle cross red green blue yellow purple black bar chart 1 2 3 4 5 6 7 8 9 10 dog cat man woman "
    "car tree house table left right top bottom line point angle graph axis number small large"
)
WORD_LISTS = {
    "a bare list": VOCABULARY,
    "with commas": VOCABULARY.replace(" ", ", "),
    "with full stops": VOCABULARY.replace(" ", ". "),
    "with line breaks": VOCABULARY.replace(" ", "\n- "),
    "with a sentence before it": f"The picture shows the following. {VOCABULARY.replace(' ', ', ')}",
    "between sentences": f"There is a picture of some things. {VOCABULARY} That is all that is in it.",
    "many times": " ".join([VOCABULARY] * 10),
    "numbers only": "There are " + " ".join(map(str, range(60))),
    "an article before each": "a " + VOCABULARY.replace(" ", " a "),
    '"and" between them': VOCABULARY.replace(" ", " and "),
    '"the" before every eleventh': re.sub(r"((?:\S+ ){11})", r"\1the ", f"the {VOCABULARY} "),
    "a preposition before every eleventh": re.sub(r"((?:\S+ ){11})", r"\1of ", f"there is {VOCABULARY} "),
    "one preposition between them": VOCABULARY.replace(" ", " of "),
    'each after "no"': "no " + VOCABULARY.replace(" ", ", no "),
    "numbers joined by and": " and ".join(map(str, range(1, 100))),
    "numbers in a sentence": "There are " + " and ".join(map(str, range(1, 100))) + " of them in the picture.",
    "capitals": VOCABULARY.title(),
    "capitals with commas": VOCABULARY.title().replace(" ", ", "),
    "upper case": VOCABULARY.upper().replace(" ", ", "),
    "numbered after": ", ".join(f"{word} {i}" for i, word in enumerate(VOCABULARY.split())),
    "numbered after, in capitals": ", ".join(f"{word} {i}" for i, word in enumerate(VOCABULARY.title().split())),
    "numbered before": ", ".join(f"{i} {word}" for i, word in enumerate(VOCABULARY.split(), 1)),
    "equations": ", ".join(f"{word} = {i}" for i, word in enumerate(VOCABULARY.split())),
    "equals signs": VOCABULARY.replace(" ", " = "),
    "cells of a table": VOCABULARY.replace(" ", " | "),
    "rows of a table": re.sub(r"((?:\S+ ){3})", r"\1\n", VOCABULARY.replace(" ", " | ")),
    "letters and words": ", ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + ", " + VOCABULARY.replace(" ", ", "),
    "percentages": ", ".join(f"{i}%" for i in range(60)),
    "pairs of words": ", ".join(map(" ".join, zip(VOCABULARY.split(), VOCABULARY.split()[1:], strict=False))),
    "colours with shapes": ", ".join(
        f"{colour} {shape}" for colour in ("red", "blue", "green") for shape in VOCABULARY.split()[11:]
    ),
    "after a few data": "Chart: China 45%, India 40%. " + VOCABULARY.replace(" ", ", "),
    "slashes": VOCABULARY.replace(" ", "/"),
    "semicolons": VOCABULARY.replace(" ", "; "),
    "verbs between them": VOCABULARY.replace(" ", " is "),
}


@pytest.mark.parametrize("name", WORD_LISTS)
def test_a_word_list_scores_0(name: str) -> None:
    key_words = ["circle", "square", "red", "7", "dog", "tree"]
    assert keyword_share(key_words, WORD_LISTS[name]) == 0.0


PROSE = {
    "a street": (
        "The photo shows a narrow street in an old town. On the left, a woman in a red coat is walking a small brown "
        "dog, while two children are playing with a ball near a fountain. Behind them there are three cafés with blue "
        "awnings, wooden chairs, round tables, flower pots and a menu board. The sky is cloudy, and a few pigeons sit "
        "on the roof.",
        ["woman", "red coat", "small brown dog", "two children", "fountain", "three cafés", "flower pots", "pigeons"],
    ),
    "a chart": (
        "The bar chart compares the sales of four companies in 2010, 2011, 2012 and 2013. The x-axis has the years and "
        "the y-axis the sales in millions of dollars, from 0 to 50. The tallest bar is that of Apple in 2013, at 45; "
        "the lowest one belongs to Nokia, with 5 in 2012. There is no legend.",
        ["bar chart", "four companies", "2011", "y-axis", "Apple", "45", "Nokia"],
    ),
    "a figure": (
        "In the figure, triangle ABC is inscribed in a circle with center O. The side AB is a diameter of length 10, "
        "the angle at C is a right angle, and point D lies on the arc between A and C. A dashed line connects D to O.",
        ["triangle ABC", "circle", "diameter", "right angle", "dashed line", "10"],
    ),
    "a table laid": (
        "On the table there are a knife, a fork, a spoon, a white plate, a glass, a bowl and a napkin.",
        ["knife", "fork", "spoon", "plate", "glass", "bowl", "napkin"],
    ),
    "a dense table, of which half is asked for": (
        "Germany 12, France 15, Italy 7, Spain 9, Poland 11, Greece 3, Sweden 8, Norway 6, Finland 5, Denmark 4.",
        ["Germany 12", "France 15", "Italy 7", "Spain 9", "Poland 11", "Greece 3", "Sweden 8"],
    ),
}  # fmt: skip


OTHERS = ["zebra", "violin", "submarine", "candle", "tractor", "penguin", "parachute"]  # key words that no text has
DENSE = {  # honest descriptions of data, figures and scenes, and some of the key words that they have
    "percentages": (
        "China 45%, India 40%, Brazil 38%, Japan 30%, Kenya 25%, France 20%, Spain 18%, Italy 15%, Chile 12%, Peru 9%.",
        ["China 45%", "Kenya", "18%"],
    ),
    "values after colons": (
        "Sales by region: North: 120, South: 95, East: 80, West: 60. Costs: North: 100, South: 90, East: 70, West: 50.",
        ["North", "120", "Costs"],
    ),
    "lengths": (
        "Triangle ABC, AB = 6, BC = 8, AC = 10, angle B = 90°, M midpoint of AC, BM = 5.",
        ["AB = 6", "BM = 5"],
    ),
    "a circle": (
        "Circle O, radius 5 cm. Chord AB = 8 cm, OM ⊥ AB, OM = 3 cm. Tangent PA, PA = 12 cm, ∠OAP = 90°, ∠AOP = 67°.",
        ["chord AB", "12 cm"],
    ),
    "equal sides": (
        "Square ABCD with AB = BC = CD = DA, diagonals AC and BD, AC ⊥ BD, intersection O, OA = OB = OC = OD, side 4.",
        ["square ABCD", "side 4"],
    ),
    "a table": (
        "| Country | 2019 | 2020 |\n|---|---|---|\n| China | 12 | 15 |\n| India | 9 | 11 |\n| Brazil | 7 | 6 "
        "|\n| Japan | 5 | 4 |",
        ["Country", "India", "15"],
    ),
    "a table of words and numbers": (
        "Name | Age | City\nTom | 12 | Paris\nAnna | 15 | Rome\nBen | 9 | Berlin\nEva | 11 | Madrid\nLeo | 10 | Lisbon",
        ["Anna", "Berlin", "12"],
    ),
    "values with units": (
        "Bar chart. Coal 35 TWh, Gas 28 TWh, Nuclear 20 TWh, Wind 12 TWh, Solar 8 TWh, Hydro 6 TWh, Oil 3 "
        "TWh, Waste 1 TWh.",
        ["bar chart", "coal", "Wind 12 TWh"],
    ),
    "years": (
        "Line chart, 2010: 5.2, 2011: 5.9, 2012: 6.4, 2013: 7.1, 2014: 7.7, 2015: 8.3, 2016: 9.0, 2017: 9.6, "
        "2018: 10.2.",
        ["line chart", "2013", "8.3"],
    ),
    "values in brackets": (
        "Apple (45), Samsung (38), Nokia (12), Huawei (30), Xiaomi (28), Sony (9), LG (7), Motorola (5).",
        ["Nokia", "28"],
    ),
    "axes and lines": (
        "x-axis: Year 2000 to 2020. y-axis: Price $0 to $50. Blue line: Gold $12, $25, $48. Red line: Silver "
        "$5, $9, $14.",
        ["blue line", "gold", "$48"],
    ),
    "bold labels": (
        "**Title:** Monthly Sales\n**X-axis:** Jan, Feb, Mar, Apr, May, Jun\n**Y-axis:** 0, 20, 40, 60, 80\n"
        "**Bars:** Jan 20, Feb 35, Mar 50, Apr 45, May 70, Jun 90",
        ["monthly sales", "Feb 35", "80"],
    ),
    "points and equations": (
        "Coordinate plane, points A(1, 2), B(3, 4), C(5, 6), D(7, 8), line y = x + 1, parabola y = x², vertex (0, 0).",
        ["points A", "(5, 6)", "y = x + 1"],
    ),
    "rows in sentences": (
        "Table: columns Name, Age, Score. Rows: Tom 12 85; Ann 11 92; Bob 13 78; Eve 12 88; Dan 11 95; Kim 13 70.",
        ["Ann 11", "score", "95"],
    ),
    "a map": (
        "Map of Europe; France blue, Germany green, Spain yellow, Italy red, Poland orange, Norway pink.",
        ["Europe", "Spain yellow"],
    ),
    "counts": ("apples 5, oranges 7, bananas 3, pears 9, plums 2, grapes 6, lemons 4, kiwis 1.", ["apples 5", "kiwis"]),
    "a list of things": (
        "red car, blue bicycle, wooden bench, tall brick building, green traffic light, two young women, "
        "small brown dog.",
        ["blue bicycle", "wooden bench"],
    ),
    "a list with bullets": (
        "The picture shows:\n- a red car\n- a blue bicycle\n- a wooden bench\n- a tall building\n- two "
        "women\n- a small dog",
        ["blue bicycle", "two women"],
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_an_honest_dense_description_scores_its_key_words(name: str) -> None:
    description, key_words = DENSE[name]
    share = keyword_share([*key_words, *OTHERS], description)
    assert share == pytest.approx(len(key_words) / (len(key_words) + len(OTHERS)))


@pytest.mark.parametrize("name", PROSE)
def test_prose_scores_all_its_key_words(name: str) -> None:
    description, key_words = PROSE[name]
    assert keyword_share(key_words, description) == 1.0


def test_words_after_no_do_not_count() -> None:
    assert keyword_share(["circle", "square"], "There is a circle, and there is no square.") == 0.5


TERSE = [
    "2 red circles at the top left, 3 blue squares below.",
    "The chart has the bars red 5, black 4, yellow 3.",
    "The picture shows top-left 4 purple squares, top-right 4 blue squares, bottom-left 1 yellow triangle.",
    "A bar chart of sales by year: 2010: 5, 2011: 6, 2012: 7, 2013: 9, 2014: 12.",
    "Right triangle ABC with angle C = 90°, AB = 10 and BC = 6.",
    "red circle",
]


@pytest.mark.parametrize("description", TERSE)
def test_a_terse_description_is_not_a_word_list(description: str) -> None:
    assert keyword_share([description.rstrip(".").split(", ")[-1].split(" and ")[-1]], description) == 1.0


def test_every_description_of_the_toy_data_contains_its_key_words() -> None:
    for question in questions(0, 200, "rl"):
        assert keyword_share(question.key_words, question.description) == 1.0


HOSTILE = (" ", "a ", "A ", "1 ", "Abc ", "abc def, ", "AB = ", "|", "a | ", "no cat ", "Abc and ", "1,", "a-", "AB'")


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_time_is_linear_in_the_length(piece: str) -> None:
    started = time.process_time()
    keyword_share(["cat", "7 dogs"], "a" + piece * (20_000 // len(piece)))
    assert time.process_time() - started < 2.0


@given(st.text(max_size=300))
def test_any_text_is_accepted(text: str) -> None:
    assert 0.0 <= keyword_share(["7", text[:20]], text) <= 1.0
