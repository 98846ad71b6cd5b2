"""Times of the day and dates: "half past three" is 3:30, "03:30" is 3:30, "5 March 2020" is "Mar 5, 2020"."""

import re
from functools import lru_cache
from typing import NamedTuple

from pebr.english.words import fold_numbers, split_number_compounds

_MONTHS = re.findall(r"\w+", "january february march april may june july august september october november december")
_DAYS = re.findall(r"\w+", "monday tuesday wednesday thursday friday saturday sunday")
_NUMBER_OF_MONTH = {name: number for number, name in enumerate(_MONTHS, 1)}
_NUMBER_OF_MONTH |= {name[:3]: number for name, number in _NUMBER_OF_MONTH.items()} | {"sept": 9}
_MONTH = rf"(?P<month>{'|'.join(sorted(_NUMBER_OF_MONTH, key=len, reverse=True))})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_DATES = tuple(
    re.compile(rf"(?:(?:{'|'.join(_DAYS)}),?\s+)?(?:{form})", re.IGNORECASE)
    for form in (
        rf"{_MONTH}\s+{_DAY}(?:,?\s+{_YEAR})?",
        rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+{_YEAR})?",
        rf"{_MONTH}(?:,?\s+{_YEAR})?",
    )
)
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_NAMED_TIMES = {"noon": 720, "midday": 720, "midnight": 0}
_WEEKDAY = re.compile(
    rf"({'|'.join(day[:3].title() for day in _DAYS)}|Tues|Thurs?)\.?|{'|'.join(_DAYS)}", re.IGNORECASE
)
_HALF = r"(?:\s*(?P<half>[ap])\.?m\.?)"
_DIGITAL = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?:\s*[ap]\.?m\.?)?|\s*[ap]\.?m\.?|\s*o'\s?clock)", re.IGNORECASE
)
_SPOKEN = re.compile(
    rf"(?P<minutes>half|a quarter|quarter|\d{{1,2}})(?: minutes?)? (?P<side>past|to) (?P<hour>\d{{1,2}}){_HALF}?"
)
_FIRST = "|".join(name[:3] for name in (*_MONTHS, *_DAYS))
_MAY_BE = re.compile(
    r"\d:\d\d|\d{4}-\d\d-|\bpast\b|noon|mid(?:day|night)|quarter to|minutes to|o'|\d\s*[ap]\.?m\b"
    rf"|\b(?:{_FIRST})",
    re.IGNORECASE,
)


class Moment(NamedTuple):
    """A time of the day, a date or a day of the week: what is not stated is None."""

    minutes: int | None = None  # since midnight or noon, as written
    half: str | None = None  # "a" for a.m., "p" for p.m.
    day: int | None = None
    month: int | None = None
    year: int | None = None
    weekday: int | None = None  # 0 for Monday


def same_moment(given: str, reference: str) -> bool | None:
    """Whether two plain texts are the same time or date; None if one of them is neither."""
    second = read_moment(reference)
    first = read_moment(given) if second else None
    if first is None or second is None or (first.minutes is None) != (second.minutes is None):
        return None
    if first.half or second.half:  # "3:30 pm" is 15:30
        first, second = _on_the_half_day(first), _on_the_half_day(second)
        if not (first.half and second.half):
            first, second = first._replace(half=None), second._replace(half=None)
    return first == second


@lru_cache(maxsize=2048)
def read_moment(text: str) -> Moment | None:
    """Read a plain text as a time or a date; None for any other text.

    >>> read_moment("quarter to 5").minutes, read_moment("03:30").minutes, read_moment("5th of March").month
    (285, 210, 3)
    """
    if len(text) > 40 or not _MAY_BE.search(text):
        return None
    return _date(text) or _time(text)


def _date(text: str) -> Moment | None:
    if match := _ISO.fullmatch(text):
        return Moment(day=int(match[3]), month=int(match[2]), year=int(match[1]))
    for form in _DATES:
        if match := form.fullmatch(text):
            named = match.groupdict()
            day, year = named.get("day"), named.get("year")
            return Moment(
                day=int(day) if day else None,
                month=_NUMBER_OF_MONTH[match["month"].lower()],
                year=int(year) if year else None,
            )
    if _WEEKDAY.fullmatch(text) and (text[:1].isupper() or len(text) > 4):
        return Moment(weekday=[day[:3] for day in _DAYS].index(text[:3].lower()))
    return None


def _time(text: str) -> Moment | None:
    if text.lower() in _NAMED_TIMES:
        return Moment(_NAMED_TIMES[text.lower()])
    if match := _DIGITAL.fullmatch(text):
        hour, minute = int(match["hour"]), int(match["minute"] or 0)
        half = next((found.lower() for found in re.findall(r"([ap])\.?m", text, re.IGNORECASE)), None)
        return Moment(hour * 60 + minute, half) if hour <= 24 and minute < 60 else None
    spoken = " ".join(fold_numbers(split_number_compounds(text.lower()).split()))
    if match := _SPOKEN.fullmatch(spoken):
        part = {"half": 30, "quarter": 15, "a quarter": 15}.get(match["minutes"]) or int(match["minutes"])
        return Moment(int(match["hour"]) * 60 + (part if match["side"] == "past" else -part), match["half"])
    return None


def _on_the_half_day(moment: Moment) -> Moment:
    """The time on a clock of twelve hours; a time after 12:59 is p.m."""
    if moment.minutes is None:
        return moment
    half = moment.half or ("p" if moment.minutes >= 13 * 60 else None)
    return moment._replace(minutes=moment.minutes % (12 * 60), half=half)
