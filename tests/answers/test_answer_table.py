"""The answer check on a table of pairs, grouped by reason."""

import pytest

from pebr.answers.check import AnswerChecker

# reason -> pairs (given, reference). The first table has right answers, the second wrong answers.
RIGHT: dict[str, list[tuple[str, str]]] = {
    "the same integer in any typesetting": [
        ("7", "7"), ("**7**", "7"), ("*7*", "7"), ("__7__", "7"), ("`7`", "7"), ("$7$", "7"), ("$$7$$", "7"),
        ("\\(7\\)", "7"), ("\\[7\\]", "7"), ("\\boxed{7}", "7"), ("$\\boxed{7}$.", "7"), ("７", "7"), ("007", "7"),
        ("+7", "7"), ("<answer>7</answer>", "7"), ("'7'", "7"), ('"7"', "7"), ("{7}", "7"), ("[7]", "7"),
        ("(7)", "7"), ("\\text{7}", "7"), ("\\mathbf{7}", "7"), ("**7", "7"), ("7**", "7"),
    ],
    "spaces, a full stop, a lead-in and a following line do not matter": [
        ("7.", "7"), (" 7 ", "7"), ("7\n", "7"), ("7 .", "7"), ("The answer is 7", "7"),
        ("The final answer is: 7.", "7"), ("Answer: 7", "7"), ("So, the answer is 7", "7"), ("= 7", "7"),
        ("There are 7", "7"), ("It is 7", "7"), ("about 7", "7"), ("≈ 7", "7"), ("approximately 7", "7"),
        ("7\n\nbecause there are seven apples", "7"), ("Therefore, the final answer is: $\\boxed{7}$", "7"),
        ("7;", "7"), ("The correct answer is: **7**.", "7"),
    ],
    "signs and decimals of one value": [
        ("-7", "-7"), ("−7", "-7"), ("–7", "-7"), ("- 7", "-7"), ("7.0", "7"), ("7.00", "7"), (".5", "0.5"),
        ("0.50", "0.5"), ("-0.5", "-.5"), ("7.", "7.0"), ("minus 7", "-7"), ("negative seven", "-7"),
    ],
    "thousands separators": [
        ("1,234", "1234"), ("1,234,567", "1234567"), ("1 234", "1234"), ("1{,}234", "1234"), ("1,234.50", "1234.5"),
        ("12,345", "12 345"), ("1\\,234", "1234"),
    ],
    "fractions and mixed numbers": [
        ("2/4", "1/2"), ("1/2", "0.5"), ("\\frac{1}{2}", "1/2"), ("\\dfrac{1}{2}", "0.5"), ("\\frac12", "1/2"),
        ("½", "1/2"), ("2½", "2.5"), ("2 1/2", "5/2"), ("2\\frac{1}{2}", "5/2"), ("-3/4", "-0.75"),
        ("-\\frac{3}{4}", "-3/4"), ("6/3", "2"), ("1 / 2", "1/2"), ("half", "1/2"), ("two thirds", "2/3"),
        ("three quarters", "3/4"), ("one half", "0.5"), ("2 and 1/2", "2.5"), ("1⁄2", "1/2"),
    ],
    "percent is a hundredth": [
        ("50%", "0.5"), ("50 %", "50%"), ("50\\%", "50%"), ("50 percent", "50%"), ("0.5", "50%"), ("1/2", "50%"),
        ("12.5%", "0.125"), ("50 per cent", "50%"), ("100%", "1"),
    ],
    "a number above 1 instead of a percentage": [
        ("50", "50%"), ("50%", "50"), ("12.5", "12.5%"), ("100%", "100"),
    ],
    "scientific notation and powers": [
        ("1.5e3", "1500"), ("1.5E3", "1500"), ("1.5 × 10^3", "1500"), ("1.5 \\times 10^{3}", "1500"),
        ("10^3", "1000"), ("10³", "1000"), ("2^{10}", "1024"), ("3e-2", "0.03"), ("1.5*10^3", "1500"),
        ("2**10", "1024"),
    ],
    "number words": [
        ("seven", "7"), ("Seven", "7"), ("twenty-three", "23"), ("one hundred and five", "105"), ("two dozen", "24"),
        ("three million", "3000000"), ("3 million", "3,000,000"), ("seven apples", "7 apples"),
    ],
    "plain arithmetic has one value": [
        ("3 + 4", "7"), ("3 × 4 = 12", "12"), ("(2+3)*2", "10"), ("14/2 = 7", "7"), ("2 - 3", "-1"), ("8 ÷ 2", "4"),
    ],
    "units and nouns that only one side gives": [
        ("7 apples", "7"), ("7", "7 apples"), ("7 cm", "7"), ("7cm", "7"), ("7", "7 cm"),
        ("7 red apples", "7 apples"), ("7\\text{ cm}", "7"), ("7 cm^2", "7"), ("7 cm²", "7"),
        ("7 square centimeters", "7 cm^2"), ("45°", "45"), ("45^\\circ", "45"), ("45^{\\circ}", "45 degrees"),
        ("$5", "5"), ("\\$5", "5"), ("5 dollars", "$5"), ("7 units", "7"), ("7 square units", "7"), ("60 km/h", "60"),
        ("5m", "5"), ("7 in.", "7"), ("7 (apples)", "7"), ("3/4 cup", "3/4"), ("2.5 hours", "2.5"),
        ("7 cups of water", "7"), ("$1,200.50", "1200.5"), ("-$5", "-5"), ("€5", "5"),
    ],
    "equal units": [
        ("70 mm", "7 cm"), ("0.07 m", "7 cm"), ("60 miles per hour", "60 mph"), ("90 minutes", "1.5 hours"),
        ("50 cents", "$0.50"), ("5 kilograms", "5 kg"), ("5 sq. cm", "5 cm^2"), ("20 degrees", "20 °C"),
        ("20°C", "20 degrees Celsius"), ("5 feet", "5 ft"), ("1 km", "1000 meters"), ("2 m/s", "2 meters per second"),
    ],
    "assigned to a name": [
        ("x = 5", "5"), ("x=5", "5"), ("5", "x = 5"), ("AB = 5 cm", "5"), ("Area = 5", "5"), ("f(x) = 5", "5"),
        ("x = 2\\pi", "2π"), ("y=2x+1", "2x+1"), ("∠ABC = 45°", "45"), ("r = \\sqrt{2}", "\\sqrt{2}"),
    ],
    "a decimal of six digits equals a number that rounds to it": [
        ("0.333333", "1/3"), ("0.1666667", "1/6"), ("1.414214", "\\sqrt{2}"), ("3.14159265", "\\pi"),
        ("6.283185", "2\\pi"),
    ],
    "option letters in several styles": [
        ("A", "A"), ("A.", "A"), ("(A)", "A"), ("[A]", "A"), ("A)", "A"), ("a", "A"), ("A:", "A"), ("**A**", "A"),
        ("Option A", "A"), ("option (A)", "A"), ("A. 12", "A"), ("A: 12", "A"), ("(A) 12", "A"), ("12 (A)", "A"),
        ("A", "(A)"), ("\\boxed{A}", "A"), ("\\text{A}", "A"), ("The answer is A.", "A"), ("A - 12", "A"),
        ("A. Because the line rises", "A"), ("A", "A. 12"), ("Choice B", "B"), ("Answer: (C)", "C"),
    ],
    "an option's letter before the answer itself": [
        ("A. 12", "12"), ("(B) blue", "blue"), ("12", "A. 12"), ("C: 3/4", "0.75"), ("12 (A)", "12"),
    ],
    "several letters, in any order": [
        ("A, C", "C, A"), ("A and C", "A, C"), ("(A) and (C)", "A,C"), ("A; C", "A, C"),
    ],
    "yes and no, with an explanation": [
        ("Yes", "yes"), ("yes.", "Yes"), ("No", "no"), ("Yes, it is.", "Yes"), ("No. The bar is lower.", "no"),
        ("yes!", "Yes"), ("True", "true"), ("Yes - it rises", "yes"), ("\\text{Yes}", "yes"),
        ("No, they are not", "No"),
    ],
    "the same words": [
        ("blue", "Blue"), ("the blue bar", "blue bar"), ("top-left", "top left"), ("red and green", "red, green"),
        ("red, green, and blue", "red, green and blue"), ("A cat", "cat"), ("an apple", "apple"),
        ("New York", "new york"), ("two apples and a pear", "2 apples and a pear"), ("“blue”", "blue"),
        ("isn’t", "isn't"), ("Paris.", "paris"), ("3:30", "3:30"), ("ab", "AB"), ("1:2", "1 : 2"),
        ("**Blue**", "blue"),
    ],
    "lists of numbers without brackets are solutions, in any order": [
        ("1, 2", "2, 1"), ("1 and 2", "1, 2"), ("x = 1 or x = 2", "1, 2"), ("2, 1.0", "1, 2"),
        ("1, 2 and 3", "3,2,1"), ("±2", "2, -2"), ("x = ±2", "-2, 2"), ("1/2, 3", "3, 0.5"),
    ],
    "tuples, intervals and sets": [
        ("(1, 2)", "(1,2)"), ("(1.0, 2/1)", "(1,2)"), ("\\left(1, 2\\right)", "(1,2)"), ("{1, 2}", "\\{2, 1\\}"),
        ("1, 2", "{1, 2}"), ("1, 2", "(1, 2)"), ("(-\\infty, 3]", "(-∞, 3]"), ("[1, 2)", "[1,2)"),
        ("(1, \\sqrt{4})", "(1, 2)"), ("(x, y)", "(x,y)"), ("[1, 2, 3]", "1, 2, 3"),
        ("((1,2),(3,4))", "((1, 2), (3, 4))"), ("\\{\\sqrt{4}, 3\\}", "\\{3, 2\\}"),
    ],
    "expressions that are written differently": [
        ("x+1", "1+x"), ("(x-1)(x+1)", "x^2-1"), ("2x", "x*2"), ("\\sqrt{8}", "2\\sqrt{2}"), ("√8", "2√2"),
        ("sqrt(8)", "2\\sqrt2"), ("2*pi", "2π"), ("\\pi/2", "\\frac{\\pi}{2}"), ("x^{-1}", "1/x"),
        ("(a+b)^2", "a^2+2ab+b^2"), ("\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"), ("sin(x)^2 + cos(x)^2", "1"),
        ("\\log_2 8", "3"), ("5!", "120"), ("3+4i", "4i+3"), ("x < 5", "5 > x"), ("y = x + 1", "x+1 = y"),
        ("2π cm", "2\\pi"), ("4\\pi\\text{ square units}", "4π"), ("2π square cm", "2π cm^2"), ("3xyz", "3zxy"),
        ("3\\sqrt{2}\\text{ cm}", "3√2"), ("\\frac{2}{3}\\pi", "\\frac{2\\pi}{3}"), ("3^(1/2)", "\\sqrt{3}"),
        ("\\sqrt[3]{8}", "2"), ("x²+1", "x^2 + 1"),
    ],
    "numbers that only computer algebra can read": [
        ("\\frac{-1}{2}", "-1/2"), ("\\frac{2}{-3}", "-\\frac{2}{3}"), ("\\binom{5}{2}", "10"), ("log_2(8)", "3"),
        ("1\\over 2", "1/2"), ("{1\\over 2}", "0.5"), ("\\sum_{n=1}^{3}n", "6"), ("e^{i\\pi}", "-1"),
        ("\\int_0^1 x dx", "1/2"), ("\\sqrt[3]8", "2"), ("\\frac{\\sqrt{4}}{2}", "1"), ("-1/2", "\\frac{-1}{2}"),
        ("pi", "3.14159265"), ("pi", "\\pi"),
    ],
    "degrees under a trigonometric function": [
        ("\\sin 30°", "1/2"), ("sin(30°)", "0.5"), ("\\tan 45^\\circ", "1"), ("\\cos(60^\\circ)", "\\frac{1}{2}"),
    ],
    "repeating decimals": [("0.\\overline{3}", "1/3"), ("0.1\\overline{6}", "1/6"), ("-1.\\overline{3}", "-4/3")],
    "halves in words": [
        ("2 and a half", "2.5"), ("two and a half", "5/2"), ("one-half", "1/2"), ("three-quarters", "3/4"),
    ],
    "inequalities in every spelling, and as intervals": [
        ("x >= 5", "x \\geq 5"), ("x<=5", "x \\leq 5"), ("x != 5", "x \\neq 5"), ("5<x", "x>5"), ("5>x>3", "3<x<5"),
        ("3<x<5", "x \\in (3,5)"), ("x \\in (3,5)", "3<x<5"), ("(3,5)", "3 < x < 5"), ("3 < x < 5", "(3,5)"),
        ("x > 3", "(3, \\infty)"), ("x \\in [3,\\infty)", "x>=3"), ("x > 4+1", "x>5"),
        ("[3, +\\infty)", "[3, inf)"), ("(-inf, 3)", "(-\\infty, 3)"), ("x ∈ (-∞,1)∪(2,∞)", "(-∞,1)∪(2,∞)"),
    ],
    "the answer in a sentence": [
        ("The value is 7", "7"), ("AB is 7", "7"), ("x ≈ 7", "7"), ("7 = x", "7"), ("7 = x", "x = 7"),
        ("Total: 7", "7"), ("There are seven apples in the picture.", "7"), ("7 because 3+4=7", "7"),
        ("45% of students", "45%"), ("45% of the students", "45"), ("The length of AB is 7 cm", "7"),
        ("The bar is blue", "blue"), ("The sum of 3 and 4 is 7", "7"), ("7 apples on the table", "7 apples"),
        ("The area is 2\\pi", "2π"),
        ("7 in total", "7"), ("7 apples in total", "7 apples"), ("The value of x is 7 because 3+4=7", "7"),
    ],
    "an option's letter in a sentence": [
        ("The correct option is A", "A"), ("A is correct", "A"), ("Option A is correct", "A"),
        ("A because it rises", "A"), ("A is the correct answer", "A"), ("The answer is B because C is wrong", "B"),
    ],
    "units whose case matters, and others": [
        ("5000 kW", "5 MW"), ("5 mW", "0.005 W"), ("5 N", "5 newtons"), ("300 K", "300 kelvin"), ("5 N·m", "5"),
        ("20 px", "20 pixels"), ("101.325 kPa", "1 atm"), ("5 CM", "5 cm"), ("2 M/S", "2 m/s"),
    ],
    "two units that make one measure": [
        ("5 ft 7 in", "67 inches"), ("1 hour 30 minutes", "90 minutes"), ("1 hour and 30 minutes", "1.5 h"),
        ("5'7\"", "5 ft 7 in"), ("2 m 5 cm", "205 cm"),
    ],
    "a unit attached, on either side": [("7m", "7"), ("7", "7m")],
}  # fmt: skip

WRONG: dict[str, list[tuple[str, str]]] = {
    "another number": [
        ("8", "7"), ("70", "7"), ("17", "7"), ("-7", "7"), ("7.1", "7"), ("0.7", "7"), ("7/2", "7"),
        ("1234", "12345"), ("1,235", "1,234"), ("2/3", "1/2"), ("0.5%", "0.5"), ("5", "50%"), ("1.5e3", "1.5e4"),
        ("2 1/2", "2"), ("10^3", "10^4"), ("0.0000001", "0.0000002"), ("1000001", "1000000"), ("2.5000001", "2.5"),
        ("0.333", "1/3"), ("3.14", "\\pi"), ("1/2", "2"), ("six", "7"), ("3 + 5", "7"), ("3 = 4", "4"),
        ("12", "1, 2"), ("1.41", "\\sqrt{2}"), ("7", "71"),
    ],
    "not a number, or not finite": [
        ("", "7"), (" ", "7"), (".", "7"), ("none", "7"), ("1/0", "7"), ("9**9**9**9", "7"), ("9^9^9^9", "9^9^9"),
        ("?", "7"), ("\\frac{1}{0}", "7"), ("\\boxed{}", "7"), ("the number of apples", "7"), ("1e999999999", "7"),
    ],
    "several answers at once": [
        ("7 or 8", "7"), ("7, 8", "7"), ("7 and 8", "7"), ("7/8", "7"), ("7 out of 8", "7"), ("6-8", "7"),
        ("between 6 and 8", "7"), ("A or B", "A"), ("A, B", "A"), ("A and B", "A"), ("A/B", "A"), ("AB", "A"),
        ("A. or B", "A"), ("(A) (B)", "A"), ("yes, no", "yes"), ("yes or no", "yes"), ("yes/no", "yes"),
        ("blue or red", "blue"), ("7\n8", "8"), ("A. 12 B. 13", "A"), ("all of them", "A"),
    ],
    "words that change the number": [
        ("7 and a half", "7"), ("7 hundred", "7"), ("7 million", "7"), ("7 squared", "7"), ("7 times 3", "7"),
        ("7 minus 2", "7"), ("7 dozen", "7"), ("7 percent", "0.7"), ("minus 7", "7"), ("half of 7", "7"),
        ("7th", "8"), ("less than 7", "7"), ("not 7", "7"),
    ],
    "other units or nouns": [
        ("7 cm", "7 m"), ("7 cm", "7 cm^2"), ("7 kg", "7 g"), ("$5", "€5"), ("7 hours", "7 minutes"),
        ("7 apples", "7 oranges"), ("7 red circles", "7 blue circles"), ("20 °C", "20 °F"), ("7 cm", "7 apples"),
        ("7 mm", "7 cm"), ("60 km/h", "60 mph"),
    ],
    "another name, or a factor": [
        ("x = 5", "y = 5"), ("AB = 5", "BC = 5"), ("2ab", "2"), ("2x", "2"), ("5x", "5y"), ("2 xy", "2"),
        ("3 sin x", "3"), ("2π", "2"),
    ],
    "another option": [
        ("B", "A"), ("B. 12", "A"), ("A. 13", "A. 12"), ("12", "A"), ("E", "A"), ("(B)", "(A)"), ("A, B", "A, C"),
        ("A cat", "A"), ("Option B", "A"), ("I", "A"), ("AC", "A"), ("b", "A"),
    ],
    "yes is not no": [
        ("yes", "no"), ("No", "Yes"), ("no, yes", "yes"), ("maybe", "yes"), ("True", "yes"), ("No cats", "no"),
        ("yesterday", "yes"),
    ],
    "other words, or the same letters in another order": [
        ("ab", "ba"), ("no", "on"), ("blue", "red"), ("red, green", "green, red"), ("cat", "category"),
        ("dog bites man", "man bites dog"), ("xy", "yx"), ("a b", "b"), ("the", "a"), ("New York", "York"),
        ("3:30", "3.30"), ("1:2", "2:1"), ("bar", "the blue bar"), ("", "blue"),
    ],
    "other lists": [
        ("(1, 2)", "(2, 1)"), ("[1, 2]", "(1, 2)"), ("[1, 2)", "[1, 2]"), ("1, 2, 3", "1, 2"), ("1, 1, 2", "1, 2, 2"),
        ("{1, 2}", "(1, 2)"), ("(1, 2)", "(1, 3)"), ("1", "1, 2"), ("{1, 2}", "{1, 3}"), ("(-∞, 3)", "(-∞, 3]"),
        ("x = 1 or x = 3", "1, 2"), ("(1, 2, 3)", "(1, 2)"), ("±2", "2"), ("((1,2),(3,4))", "((1,2),(3,5))"),
    ],
    "other expressions": [
        ("x+1", "x+2"), ("x^2", "2x"), ("\\sqrt{2}", "\\sqrt{3}"), ("2\\pi", "\\pi"), ("x > 5", "x < 5"),
        ("\\frac{\\pi}{10000000}", "0.000000"), ("y = x + 1", "y = x + 2"), ("3+4i", "3-4i"), ("(a+b)^2", "a^2+b^2"),
        ("x", "2x"), ("\\log_2 8", "2"), ("sin(x)", "cos(x)"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\3\\end{pmatrix}"), ("1/2x", "1/2"),
        ("2π cm", "2π m"), ("Figure 7", "7"), ("7 plus tax", "7"),
    ],
    "dates and ranges are not arithmetic": [
        ("1/2/2020", "2/4/2020"), ("2020-2021", "-1"), ("7-8", "-1"), ("5-7", "57"),
    ],
    "another number, by computer algebra": [
        ("\\frac{-1}{2}", "1/2"), ("\\binom{5}{2}", "11"), ("e^{i\\pi}", "1"), ("\\sum_{n=1}^{3}n", "7"),
        ("0.\\overline{3}", "0.3"), ("\\sin 30°", "1"), ("2 and a half", "2"),
    ],
    "two different decimals": [
        ("1234.56", "1234.561"), ("123456.7", "123456.74"), ("2.50000", "2.500001"),
    ],
    "a percentage is not a count, a price or an angle": [
        ("45%", "45 apples"), ("45%", "0.45 apples"), ("$7", "7%"), ("7°", "7%"),
        ("45% of students", "45% of teachers"),
    ],
    "words that are not nouns": [
        ("7 tenths", "7"), ("7 pairs", "7"), ("7 eight", "7"), ("7 (eight)", "7"), ("7 isn't", "7"), ("7 never", "7"),
        ("7 wrong", "7"), ("7 negative", "7"), ("7 below", "7"), ("7 less", "7"), ("7 fewer", "7"),
        ("7 cheaper", "7"), ("The price is 7 lower", "7"),
    ],
    "units that differ in case, two units that differ": [
        ("5 mW", "5 MW"), ("5 Mm", "5 mm"), ("5 ft 7 in", "5 ft 8 in"), ("5 ft 7 in", "5 ft"), ("5 N", "5 kg"),
        ("1 hour 30 minutes", "30 minutes"), ("5 apples 7 in", "5"),
    ],
    "a count of other things": [
        ("7 of 10", "7"), ("7 groups of three", "7"), ("7 tenths of it", "7"), ("7 cups of water", "7 cups of tea"),
        ("3:2", "2:3"), ("Line A", "Line B"), ("8 pm", "8 am"), ("12:30", "1230"), ("2020", "20.20"), ("i", "1"),
    ],
    "labels are not products": [("B2", "2B"), ("A1", "1A"), ("3D", "D3"), ("CO2", "OC2")],
    "other inequalities": [
        ("x>3", "[3,∞)"), ("3<x<5", "(3,6)"), ("3<x<5", "3, 5"), ("x>3", "3"), ("x>3", "y>3"), ("x ≥ 5", "x > 5"),
    ],
    "a sentence with another answer": [
        ("The red bar is 7", "The blue bar is 7"), ("It is not 7", "7"), ("The value is not 7", "7"),
        ("7 is wrong", "7"), ("7 is not correct", "7"), ("The value is 7 or 8", "7"), ("7 because 8", "8"),
        ("AB is 7", "CD = 7"), ("7 = x", "y = 7"), ("A is incorrect", "A"), ("A is not correct", "A"), ("not A", "A"),
        ("B is wrong because A is correct", "A"), ("The answer is not B because A is correct", "A"),
        ("The answer is A and the other one is B", "A"), ("A or B is correct", "A"),
        ("A and B are correct", "A"), ("The answer is A or B", "A"),
    ],
    "two answers on two lines": [("7\n8", "7"), ("A\nB", "A"), ("A\nB", "B")],
}  # fmt: skip

OPTIONS = {"A": "12", "B": "14 cm", "C": "1/2", "D": "the blue bar"}
# reason -> (given, reference, verdict), with OPTIONS
CHOICES: dict[str, list[tuple[str, str, bool]]] = {
    "by letter": [
        ("A", "A", True), ("(b)", "B", True), ("C.", "C", True), ("D", "A", False), ("Option D", "D", True),
    ],
    "by the option's text": [
        ("12", "A", True), ("14 cm", "B", True), ("14", "B", True), ("0.5", "C", True), ("blue bar", "D", True),
        ("14", "A", False), ("The blue bar.", "D", True), ("13", "A", False),
    ],
    "by both, if they agree": [
        ("A. 12", "A", True), ("B: 14 cm", "B", True), ("A. 14", "A", False), ("B. 12", "A", False),
        ("B. 12", "B", False), ("D. The blue bar", "D", True), ("12 (A)", "A", True), ("A. It is the sum", "A", True),
    ],
    "the reference is an option's text": [
        ("A", "12", True), ("12", "12", True), ("C", "0.5", True), ("D", "the blue bar", True), ("B", "12", False),
    ],
    "hedges": [
        ("A or B", "A", False), ("A, B", "A", False), ("A. 12 or B. 14", "A", False), ("12 or 14", "A", False),
        ("A. B", "A", False),
    ],
    "several letters": [
        ("A, C", "AC", True), ("CA", "A,C", True), ("A and C", "AC", True), ("A", "AC", False), ("ABC", "AC", False),
    ],
    "letter and text next to each other": [
        ("A 12", "A", True), ("A (12)", "A", True), ("12, A", "A", True), ("A, 12", "A", True), ("A 14 cm", "A", False),
        ("B 12", "A", False), ("B 12", "B", False), ("12, B", "A", False), ("A because it is 12", "A", True),
        ("The correct option is A", "A", True), ("A and B are correct", "A", False),
    ],
    "letters in brackets without a space": [("(A)(C)", "AC", True), ("(A)(C)", "A, C", True), ("(A)(C)", "AB", False)],
    "a text and another letter below it": [("12\nB", "A", False), ("12\n\nbecause 3*4=12", "A", True)],
    "not in the options at all": [
        ("E", "A", False), ("77", "77", True), ("E", "77", False),
    ],
}  # fmt: skip


def rows(table: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str, str]]:
    return [(reason, *pair) for reason, pairs in table.items() for pair in pairs]


def test_the_table_is_large_enough() -> None:
    assert len(rows(RIGHT)) + len(rows(WRONG)) + sum(map(len, CHOICES.values())) >= 300


@pytest.mark.parametrize("reason", RIGHT)
def test_right_answers(checker: AnswerChecker, reason: str) -> None:
    given, references = zip(*RIGHT[reason], strict=True)
    verdicts = checker.check(given, references)
    assert [pair for pair, right in zip(RIGHT[reason], verdicts, strict=True) if not right] == []


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_answers(checker: AnswerChecker, reason: str) -> None:
    given, references = zip(*WRONG[reason], strict=True)
    verdicts = checker.check(given, references)
    assert [pair for pair, right in zip(WRONG[reason], verdicts, strict=True) if right] == []


@pytest.mark.parametrize("reason", CHOICES)
def test_multiple_choice(checker: AnswerChecker, reason: str) -> None:
    given, references, _ = zip(*CHOICES[reason], strict=True)
    verdicts = checker.check(given, references, [OPTIONS] * len(given))
    assert [row for row, verdict in zip(CHOICES[reason], verdicts, strict=True) if verdict != row[2]] == []


def test_every_group_decides_without_giving_up(checker: AnswerChecker) -> None:
    before = checker.failures
    pairs = rows(RIGHT)
    checker.check([given for _, given, _ in pairs], [reference for _, _, reference in pairs])
    assert checker.failures == before
