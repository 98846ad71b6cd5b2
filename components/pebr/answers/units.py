"""Units of measure: their spellings, their dimensions, and exact factors between units of one dimension."""

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple


class Unit(NamedTuple):
    """A unit of measure: `factor` times the base unit of the dimension, which is the first in `_TABLE`."""

    dimension: str
    factor: Fraction


# dimension: (factor, spellings), ...; spellings are lower-case, singular, without full stops.
_TABLE: dict[str, tuple[tuple[str, str], ...]] = {
    "length": (
        ("1", "m meter metre"),
        ("1/1000", "mm millimeter millimetre"),
        ("1/100", "cm centimeter centimetre"),
        ("1/10", "dm decimeter decimetre"),
        ("1/1000000", "μm micrometer micrometre micron"),
        ("1/1000000000", "nm nanometer nanometre"),
        ("1000", "km kilometer kilometre"),
        ("0.0254", 'in inch "'),
        ("0.3048", "ft foot '"),
        ("0.9144", "yd yard"),
        ("1609.344", "mi mile"),
    ),
    "mass": (
        ("1", "g gm gram gramme"),
        ("1/1000", "mg milligram"),
        ("1/1000000", "μg microgram"),
        ("1000", "kg kilogram kilo"),
        ("453.59237", "lb"),
        ("28.349523125", "oz ounce"),
    ),
    "time": (
        ("1", "s sec second"),
        ("1/1000", "ms millisecond"),
        ("1/1000000", "μs microsecond"),
        ("1/1000000000", "ns nanosecond"),
        ("60", "min minute"),
        ("3600", "h hr hour"),
        ("86400", "day"),
        ("604800", "week"),
    ),
    "years": (("1", "year yr"), ("1/12", "month"), ("10", "decade"), ("100", "century")),
    "volume": (("1", "l liter litre"), ("1/1000", "ml milliliter millilitre"), ("1/100", "cl centiliter centilitre")),
    "angle": (("1", "° degree deg"),),
    "radians": (("1", "rad radian"),),
    "celsius": (("1", "°c celsius centigrade"),),
    "fahrenheit": (("1", "°f fahrenheit"),),
    "kelvin": (("1", "kelvin"),),
    "dollars": (("1", "$ usd dollar"), ("1/100", "¢ cent")),
    "euros": (("1", "€ eur euro"),),
    "pounds sterling": (("1", "£ gbp"),),
    "pounds": (("1", "pound"),),  # of mass or of money, so it equals only itself
    "yen": (("1", "¥ jpy yen"),),
    "yuan": (("1", "cny rmb yuan"),),
    "rupees": (("1", "₹ inr rs rupee"),),
    "energy": (("1", "j joule"), ("1000", "kj kilojoule")),
    "power": (("1", "w watt"), ("1000", "kw kilowatt"), ("1000000", "megawatt"), ("1/1000", "milliwatt")),
    "force": (("1", "newton"), ("1000", "kn kilonewton")),
    "torque": (("1", "n·m newton-meter newton-metre"),),
    "pressure": (("1", "pa pascal"), ("1000", "kpa kilopascal"), ("100000", "bar"), ("101325", "atm atmosphere")),
    "pixels": (("1", "px pixel"),),
    "voltage": (("1", "v volt"),),
    "current": (("1", "ampere amp"), ("1/1000", "ma milliampere"), ("1/1000000", "μa microampere")),
    "resistance": (("1", "Ω ω ohm"), ("1000", "kω kiloohm"), ("1000000", "megaohm")),
    "charge": (("1", "coulomb"), ("1/1000000", "μc microcoulomb")),
    "capacitance": (("1", "farad"), ("1/1000000", "μf microfarad")),
    "magnetic field": (("1", "tesla"),),
    "tonnes": (("1", "tonne ton"),),  # three masses have this name
    "frequency": (("1", "hz hertz"), ("1000", "khz kilohertz"), ("1000000", "mhz megahertz")),
}
_SPELLINGS = {
    spelling: Unit(dimension, Fraction(factor))
    for dimension, units in _TABLE.items()
    for factor, spellings in units
    for spelling in spellings.split()
}
_SPELLINGS |= {  # plurals that no rule gives
    plural: _SPELLINGS[unit]
    for plural, unit in {"feet": "ft", "inches": "inch", "hrs": "hr", "lbs": "lb", "centuries": "century"}.items()
}
# Symbols whose case matters; the case of all other spellings is ignored.
_CASED = {
    "mW": Unit("power", Fraction(1, 1000)),
    "MW": Unit("power", Fraction(10**6)),
    "GW": Unit("power", Fraction(10**9)),
    "mJ": Unit("energy", Fraction(1, 1000)),
    "MJ": Unit("energy", Fraction(10**6)),
    "Mm": Unit("length", Fraction(10**6)),
    "mHz": Unit("frequency", Fraction(1, 1000)),
    "MPa": Unit("pressure", Fraction(10**6)),
    "N": _SPELLINGS["newton"],
    "K": _SPELLINGS["kelvin"],
    "A": _SPELLINGS["ampere"],
    "MΩ": _SPELLINGS["megaohm"],
    "C": Unit("charge or celsius", Fraction(1)),
}
_C = {"charge", "celsius", "charge or celsius"}
_ANY_DEGREE = {"angle", "celsius", "fahrenheit"}  # "20 degrees" can mean any of them
_RATES = {"mph": ("mile", "hour"), "kph": ("km", "h"), "kmh": ("km", "h"), "kmph": ("km", "h"), "mps": ("m", "s")}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_POWER_AFTER = re.compile(r"(.*?[^\W\d])\s*(?:\^?([23])|(squared|cubed))", re.IGNORECASE)
_PER = re.compile(r"\s*/\s*|\s+per\s+|\s+an?\s+(?=second|minute|hour|day)", re.IGNORECASE)


@lru_cache(maxsize=4096)
def read_unit(text: str) -> Unit | None:
    """Read a text as a unit; None if it is not one.

    Known units: those of `_TABLE` in the singular and the plural, their squares and cubes, and one unit per another
    unit. The word "units" itself is not a unit.

    >>> read_unit("square centimeters") == read_unit("cm^2")
    True
    >>> read_unit("km/h").dimension
    'length/time'
    """
    folded = " ".join(text.replace(".", " ").replace("² ", "^2 ").split())
    return _rate(folded) if folded else None


def both_in_one(first: Unit, second: Unit) -> bool:
    """True if two units can form one measure with the larger unit first: "5 ft 7 in", "1 hour 30 minutes"."""
    return first.dimension == second.dimension and first.factor > second.factor


def same_dimension(first: Unit, second: Unit) -> bool:
    """True if numbers with these units can be compared."""
    if first.dimension == second.dimension:
        return True
    both = {first.dimension, second.dimension}
    return ("angle" in both and both <= _ANY_DEGREE) or ("charge or celsius" in both and both <= _C)


def _rate(text: str) -> Unit | None:
    if text.lower() in _RATES:
        above, below = _RATES[text.lower()]
        return _divide(_SPELLINGS[above], _SPELLINGS[below])
    parts = _PER.split(text)
    if len(parts) > 2:
        return None
    units = [_power(part) for part in parts]
    if None in units:
        return None
    return units[0] if len(units) == 1 else _divide(units[0], units[1])  # type: ignore[arg-type]


def _divide(above: Unit, below: Unit) -> Unit:
    return Unit(f"{above.dimension}/{below.dimension}", above.factor / below.factor)


def _power(text: str) -> Unit | None:
    first, _, rest = text.partition(" ")
    if first.lower() in _POWERS and rest:
        return _raise(_simple(rest), _POWERS[first.lower()])
    if match := _POWER_AFTER.fullmatch(text):
        exponent = int(match[2]) if match[2] else {"squared": 2, "cubed": 3}[match[3].lower()]
        return _raise(_simple(match[1]), exponent)
    return _simple(text)


def _raise(unit: Unit | None, exponent: int) -> Unit | None:
    return unit and Unit(f"{unit.dimension}^{exponent}", unit.factor**exponent)


def _simple(text: str) -> Unit | None:
    if text in _CASED:
        return _CASED[text]
    text = text.lower().replace("° ", "°")
    text = {"degree celsius": "°c", "degrees celsius": "°c", "degree fahrenheit": "°f", "degrees fahrenheit": "°f"}.get(
        text, text
    )
    return _SPELLINGS.get(text) or (_SPELLINGS.get(text[:-1]) if text.endswith("s") and len(text) > 2 else None)
