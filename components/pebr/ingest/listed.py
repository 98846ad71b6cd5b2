"""A list of sources, as one setting names it: `hf://a, s3://b*0.5, path:20000`."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

from pebr.errors import InputError

_ENTRY = re.compile(r"(?P<location>.+?)(?:\*(?P<share>\d+(?:\.\d+)?|\.\d+))?(?::(?P<limit>\d+))?", re.DOTALL)


class Listed(NamedTuple):
    """One source of a list."""

    location: str
    share: float = 1.0  # of its rows that are used; 2 uses each row twice
    limit: int = 0  # rows that are read at most; 0 for all

    @property
    def is_plain(self) -> bool:
        """Whether all rows are used once."""
        return (self.share, self.limit) == (1.0, 0)

    @property
    def name(self) -> str:
        """The last part of the location, in letters that are fine in a file name."""
        last = self.location.partition("@")[0].rstrip("/").rpartition("/")[2]
        return re.sub(r"[^\w.-]", "_", last).strip(".") or "source"


def parse(text: str) -> list[Listed]:
    """The sources of a setting, separated by commas, each maybe with `*SHARE` or `:ROWS`.

    Raises:
        InputError: an entry is empty, or a share or a number of rows is 0.

    >>> parse("hf://datasets/o/a@v1, s3://b/c*0.5, /data/d:20000")[1:]
    [Listed(location='s3://b/c', share=0.5, limit=0), Listed(location='/data/d', share=1.0, limit=20000)]
    """
    if Path(text).exists():  # a path may hold any of these signs
        return [Listed(text)]
    found = []
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry.strip())
        if not match:
            raise InputError(f"--source {text}: an empty entry: give sources separated by commas")
        source = Listed(match["location"].strip(), float(match["share"] or 1), int(match["limit"] or 0))
        if not source.share:
            raise InputError(f"--source {text}: a share of 0: leave the source out")
        if match["limit"] and not source.limit:
            raise InputError(f"--source {text}: no rows (:0): leave the source out")
        found.append(source)
    return found


def folders(sources: list[Listed]) -> dict[str, Listed]:
    """A folder's name for each source, all different."""
    made: dict[str, Listed] = {}
    for source in sources:
        name = source.name
        for number in itertools.count(2):
            if name not in made:
                break
            name = f"{source.name}-{number}"
        made[name] = source
    return made
