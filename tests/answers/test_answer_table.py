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
    "an answer that is repeated": [
        ("9\n\n9", "9"), ("9\n\nThe final answer is 9.", "9"), ("9\n\n**Answer: 9**", "9"), ("9\n\nSo x = 9.", "9"),
        ("9 cm\n\nThe length is 9 cm.", "9"), ("green\nThe line is green.", "green"), ("cat\ncat", "cat"),
        ("The bars rise from left to right.\n9", "9"), ("\\sqrt{8}\n\nThe final answer is 2\\sqrt{2}", "2√2"),
        ("D\n\nTherefore, the answer is D.", "D"), ("No\n\nThe bar is not higher than the others.", "no"),
    ],
    "points, with and without a name": [
        ("(x, y) = (4, 1)", "(4,1)"), ("Q(4, 1)", "(4, 1)"), ("Q = (4, 1)", "(4,1)"), ("The point Q(4, 1)", "(4, 1)"),
        ("x = 4\ny = 1", "(4,1)"), ("(4,1)", "Q(4, 1)"), ("(a, b) = (4, 1) and (1, 4)", "(1,4),(4,1)"),
        ("(4, 1) or (1, 4)", "(1,4), (4,1)"), ("(4,1)or(1,4)", "(1,4),(4,1)"), ("center (4, 1)", "(4,1)"),
    ],
    "names of values": [
        ("EF = GH = 8", "8"), ("\\overline{EF} = 8", "8"), ("|EF| = 8", "8"), ("S_{EFG} = 8", "8"),
        ("\\cos B = 4/5", "4/5"), ("\\cos(B) = \\frac{4}{5}", "0.8"), ("\\tan \\theta = 8", "8"),
        ("y = 3x - 2", "f(x) = 3x - 2"), ("g(t) = t^2", "y = t^2"), ("k = 5, m = 3", "m = 3, k = 5"),
        ("\\begin{align*} x &= 8 \\end{align*}", "8"),
    ],
    "ratios": [("4 to 3", "4:3"), ("4:3", "4 to 3"), ("EF:FG = 4:3", "4:3"), ("S_{ABC}:S = 4:3", "4:3")],
    "sentences with other verbs": [
        ("It takes 8 days", "8"), ("It would take 8 days.", "8"), ("It costs $8.", "8"), ("x is equal to 8", "8"),
        ("the value of x is equal to 8", "8"), ("8 is the answer", "8"),
        ("Therefore x \\gt 8 is the solution.", "x > 8"),
        ("8 (eight)", "8"), ("8 (since 3+5=8)", "8"), ("Total of 8", "8"), ("slope: 8", "8"), ("→ 8", "8"),
        ("Answer \\[ 8 \\]", "8"), ("It goes up", "up"), ("The cats are located on the left", "left"),
    ],
    "sentences about amounts": [
        ("The triangle has an area of 8", "8"), ("There are 8 of them", "8"), ("She bought 8 apples", "8"),
        ("8 apples are left", "8"), ("It has 8 sides", "8"), ("ratio of 4 to 3", "4:3"), ("4/3", "4:3"),
        ("two out of seven", "2/7"), ("1 in 6", "1/6"),
    ],
    "ranges and dates in figures": [
        ("2010 to 2015", "2010-2015"), ("between 2010 and 2015", "2010-2015"), ("2021-04-07", "April 7, 2021"),
        ("noon", "12:00"),
    ],
    "conditions as sets": [("\\{x \\mid x>3\\}", "(3,\\infty)"), ("{x | x > 3}", "x>3")],
    "signs of geometry": [("EF // GH", "EF \\parallel GH"), ("∠EFG = 45°", "45")],
    "words that add nothing": [
        ("by 2015", "2015"), ("the left one", "left"), ("the one on the left", "left"),
        ("top right corner", "top right"),
        ("in 1998", "1998"), ("It was in 1998", "1998"), ("The year 1998", "1998"), ("1998", "in 1998"),
        ("on the right", "right"), ("to the right", "right"), ("right side", "right"), ("on Friday", "Friday"),
        ("The color green", "green"), ("green colour", "green"), ("It is green in color.", "green"),
        ("60 N to the left", "60 N"),
    ],
    "several boxes in one statement": [
        ("\\boxed{3}\\boxed{4}", "3, 4"), ("\\boxed{3} cats and \\boxed{4} dogs", "3,4"),
        ("$\\boxed{a = 3} \\quad \\text{and} \\quad \\boxed{b = 4}$", "a = 3, b = 4"),
        ("\\boxed{(3, 4)}, \\boxed{(4, 3)}", "(4,3),(3,4)"), ("First \\boxed{3}. Then \\boxed{4}", "4"),
    ],
    "matrices and vectors": [
        ("\\begin{pmatrix} 3 & 1 \\\\ 2 & 5 \\end{pmatrix}", "\\begin{bmatrix}3&1\\\\2&5\\end{bmatrix}"),
        ("[3, 0.5]", "\\begin{matrix} 3 \\\\ \\frac12 \\end{matrix}"), ("<3,1,2>", "\\langle 3, 1, 2 \\rangle"),
        ("\\begin{pmatrix}x&\\sqrt{8}\\\\0&1\\\\\\end{pmatrix}", "\\begin{pmatrix}x&2\\sqrt2\\\\0&1\\end{pmatrix}"),
        ("M = \\begin{bmatrix}3&1\\\\2&5\\end{bmatrix}", "\\begin{pmatrix}3&1\\\\2&5\\end{pmatrix}"),
    ],
    "thin spaces in numbers": [
        ("22,\\! 333,\\! 444", "22333444"), ("12\\;345", "12345"), ("12\u2009345", "12345"), ("12\\!345", "12345"),
    ],
    "sets, unions and solutions in another order": [
        ("(5,∞)∪(-∞,2)", "(-∞,2)∪(5,∞)"), ("x<2 or x>5", "(-∞,2)∪(5,∞)"), ("x > 5 or x < 2", "x<2 or x>5"),
        ("\\sqrt{3}, -\\sqrt{3}", "-\\sqrt3, \\sqrt3"), ("1+\\sqrt2, 3", "3, \\sqrt{2}+1"),
        ("[5,6],[1,2]", "[1,2], [5,6]"),
        ("green and red", "red and green"), ("x<2或x>5", "(-∞,2)∪(5,∞)"), ("-3或+3", "±3"), ("3、-3", "±3"),
        ("3和4", "3, 4"),
    ],
    "prefixes and suffixes of numbers and units": [
        ("6\\Omega", "6"), ("6Ω", "6 ohms"), ("6 k\\Omega", "6000 Ω"), ("20 \\mu m", "20"),
        ("20 \\mu m", "20 micrometers"),
        ("2.5M", "2,500,000"), ("2.5M", "2.5 million"), ("20K", "20,000"), ("$20K", "$20,000"), ("4B", "4 billion"),
        ("1.6e-19", "1.6 × 10^{-19} C"), ("2 out of 7", "2/7"), ("34 percentage", "34%"), ("300 K", "300 kelvin"),
    ],
    "formulas of chemistry, complexity and products": [
        ("CO₂", "CO2"), ("$CO_2$", "CO2"), ("C_6H_{12}O_6", "C6H12O6"), ("O(n log n)", "O(nlogn)"),
        ("$O(n \\log n)$", "O(n log n)"), ("x*y", "xy"), ("x \\cdot y", "xy"),
    ],
    "times and dates": [
        ("09:15", "9:15"), ("quarter past nine", "9:15"), ("half past two", "2:30"), ("quarter to 6", "5:45"),
        ("9:15 pm", "21:15"), ("Feb", "February"), ("Feb 2018", "February 2018"), ("7 April 2021", "April 7, 2021"),
        ("Apr 7, 2021", "7th of April 2021"), ("Thurs", "Thursday"), ("3 o'clock", "3:00"),
    ],
    "abbreviations with full stops": [("U.K.", "UK"), ("U.S.A.", "USA"), ("USA", "U.S.A")],
    "several letters as a word or as a list": [
        ("B, C and E", "BCE"), ("(B), (C), (E)", "BCE"), ("B C E", "BCE"), ("BCE", "B, C, E"), ("BC", "C, B"),
    ],
    "the thing that a letter names": [
        ("Figure C", "C"), ("Image C", "C"), ("the figure labeled C", "C"), ("letter C", "C"), ("Ans: C", "C"),
        ("Ans. C", "C"), ("I choose C", "C"), ("选项C", "C"), ("答案是C", "C"), ("答案：C", "C"), ("選 C", "C"),
        ("C!", "C"), ("C (correct)", "C"), ("C", "Figure C"),
    ],
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
    "two answers on two lines": [
        ("7\n8", "7"), ("A\nB", "A"), ("A\nB", "B"), ("9\n\nThe final answer is 8.", "9"), ("yes\nno", "yes"),
        ("9\n\nThe final answer is 8.", "8"), ("pig\ncow", "pig"), ("pig\ncow", "cow"), ("9\n9.5", "9"),
        ("green\nThe bar is red.", "green"), ("green\nIt is red", "green"), ("C\n\nThe answer is D.", "C"),
        ("x = 4\ny = 1", "4"), ("x = 4\ny = 1", "(1,4)"), ("\\sqrt{8}\n\nThe final answer is 3", "2\\sqrt2"),
    ],
    "no unit is cut off a plain word": [
        ("right foot", "right"), ("Labor Day", "Labor"), ("leap year", "leap"), ("1980s", "1980"),
        ("first day", "first"),
        ("second hand", "second"), ("home yard", "home"),
    ],
    "tiny numbers": [
        ("4e-9 pi", "8e-9 pi"), ("\\frac{1}{3^{80}}", "\\frac{1}{3^{79}}"), ("e^{-30}", "e^{-31}"),
        ("10^{-9}x", "2\\cdot10^{-9}x"), ("\\frac{\\pi}{10^9}", "\\frac{2\\pi}{10^9}"),
    ],
    "or is not and": [
        ("red or green", "red and green"), ("x<2 and x>5", "x<2 or x>5"), ("\\boxed{3} or \\boxed{4}", "4"),
    ],
    "other points, names and ratios": [
        ("P(4, 1)", "Q(4, 1)"), ("Q(4, 1)", "(1,4)"), ("EF = GH = 9", "8"), ("\\cos A = 4/5", "\\cos B = 4/5"),
        ("∠EFG = 45°", "∠EFH = 45°"), ("3 to 4", "4:3"), ("y = 3x - 1", "f(x) = 3x - 2"),
        ("S_{EFG} = 8", "S_{FGH} = 8"),
        ("(1,2),(3,4)", "(2,1),(4,3)"), ("(-∞,2)∪(5,∞)", "(-∞,2]∪(5,∞)"), ("x<2 or x≥5", "(-∞,2)∪(5,∞)"),
    ],
    "other matrices": [
        ("\\begin{pmatrix}3&1\\\\2&5\\end{pmatrix}", "\\begin{pmatrix}3&2\\\\1&5\\end{pmatrix}"), ("<3,1>", "<1,3>"),
        ("\\begin{pmatrix}3&1\\end{pmatrix}", "\\begin{pmatrix}3\\\\1\\end{pmatrix}"),
    ],
    "denied sentences": [
        ("It does not take 8 days", "8"), ("x is not equal to 8", "8"), ("8 is not the answer", "8"),
        ("not on the left", "left"),
        ("8 is the wrong answer", "8"), ("8 (nine)", "8"), ("It never takes 8 days", "8"),
    ],
    "other places and colours": [
        ("on the left", "on the right"), ("in the box", "on the box"), ("light green", "green"), ("upper left", "left"),
        ("left side", "right side"),
    ],
    "other numbers with prefixes": [
        ("6 kΩ", "6 Ω"), ("20 μm", "20 mm"), ("2.5M", "2.5"), ("20K", "20"), ("3M", "3m"), ("2 out of 7", "2"),
        ("2 out of 7", "2/8"), ("4B", "4"),
    ],
    "other times and dates": [
        ("9:15", "9:16"), ("21:15", "9:15"), ("quarter past nine", "9:45"), ("Feb", "March"),
        ("7 April", "April 7, 2021"),
        ("9 am", "9 pm"), ("sun", "Sunday"), ("April 7, 2021", "April 8, 2021"),
    ],
    "other formulas": [("CO_2", "CO"), ("H2O", "HO2"), ("O(n log n)", "O(n)"), ("y*x+1", "xy"), ("U.K.", "USA")],
    "other amounts": [
        ("The triangle has an area of 9", "8"), ("She did not buy 8 apples", "8"), ("3/4", "4:3"), ("1 in 6", "1"),
        ("2010 to 2016", "2010-2015"), ("2021-04-08", "April 7, 2021"), ("midnight", "12:00"), ("{x | x > 3}", "x<3"),
    ],
    "other letters": [
        ("BCE", "BCD"), ("B, C", "BCE"), ("ECB", "BCE"), ("Figure D", "C"), ("not C", "C"), ("Figure C and D", "C"),
    ],
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
    "the text of another option beside the letter": [
        ("14 cm A", "B", False), ("B 12", "A", False), ("A. 14 cm, because it fits", "A", False),
        ("A. 14 cm\n\nThis matches the picture.", "A", False), ("Option A (14 cm)", "A", False), ("A、14 cm",
        "A", False),
    ],
    "words around the letter": [
        ("Figure B", "B", True), ("Option B (14 cm)", "B", True), ("Option B, 14 cm", "B", True), ("B、14 cm",
        "B", True),
        ("I would choose B.", "B", True), ("Ans: B", "B", True), ("答案是B", "B", True), ("選 B", "B", True), ("B!",
        "B", True),
        ("B (correct)", "B", True), ("the figure labeled B", "B", True), ("The blue bar is correct.", "D", True),
        ("Figure A", "B", False), ("I choose A", "B", False), ("选A", "B", False), ("A (correct)", "B", False),
        ("It is not B", "B", False), ("Figure A and B", "B", False),
    ],
    "several letters in words": [
        ("A, B and D", "ABD", True), ("(A), (B), (D)", "ABD", True), ("A B D", "ABD", True), ("A, B", "ABD", False),
    ],
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


FIGURES = {"A": "Figure B", "B": "Figure C", "C": "Figure A"}


def test_an_options_text_comes_before_the_letter_in_it(checker: AnswerChecker) -> None:
    assert checker.check(["Figure B"] * 3, ["A", "B", "Figure B"], [FIGURES] * 3) == [True, False, True]


LETTERS = "ABCD"
PICKS = (
    "{0}", "({0})", "{0}.", "**{0}**", "Option {0}", "Figure {0}", "The image {0}", "Ans: {0}", "letter {0}",
    "I choose {0}",
    "选项{0}", "答案是{0}", "{0}!", "{0} (correct)", "{0}. {1}", "({0}) {1}", "{0}, {1}", "{0} ({1})", "{1} ({0})",
    "{1}, {0}",
    "Option {0} ({1})", "Option {0}, {1}", "{0}、{1}", "{0}\n{1}", "{0}. {1}\n\nThis fits best.", "{1}",
    "{1} is correct.",
    "The answer is {1}.", "The answer is {0}: {1}",
)  # fmt: skip
GRIDS = (
    ("12", "14", "16", "18"), ("30°", "45°", "60°", "90°"), ("AB = CD", "AB > CD", "AB < CD", "AB \\parallel CD"),
    ("red", "light red", "dark red", "none of them"), ("(1,2)", "(2,1)", "(3,4)", "(4,3)"),
    ("5 A", "10 A", "15 A", "20 A"),
    ("x<1", "x>1", "x<1 or x>3", "x = 1"), ("left side", "right side", "top", "bottom"), ("3K", "3M", "30", "0.3"),
)  # fmt: skip


@pytest.mark.parametrize("texts", GRIDS)
def test_every_way_to_pick_an_option_is_right_for_it_alone(checker: AnswerChecker, texts: tuple[str, ...]) -> None:
    options = dict(zip(LETTERS, texts, strict=True))
    rows = [(pick.format(x, options[x]), y, x == y) for pick in PICKS for x in LETTERS for y in LETTERS]
    verdicts = checker.check([row[0] for row in rows], [row[1] for row in rows], [options] * len(rows))
    assert [row for row, verdict in zip(rows, verdicts, strict=True) if verdict != row[2]] == []


@pytest.mark.parametrize("texts", GRIDS)
def test_a_letter_with_the_text_of_another_option_is_wrong(checker: AnswerChecker, texts: tuple[str, ...]) -> None:
    options = dict(zip(LETTERS, texts, strict=True))
    both = [pick for pick in PICKS if "{0}" in pick and "{1}" in pick]
    rows = [
        (pick.format(x, options[y]), z) for pick in both for x in LETTERS for y in LETTERS if x != y for z in (x, y)
    ]
    verdicts = checker.check([row[0] for row in rows], [row[1] for row in rows], [options] * len(rows))
    assert [row for row, verdict in zip(rows, verdicts, strict=True) if verdict] == []
