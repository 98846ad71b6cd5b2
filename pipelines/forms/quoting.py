"""Writes YAML that all readers understand in the same way, including YAML 1.1 readers and Go's.

PyYAML writes the strings `y` and `1e-05` without quotes; kubectl reads the first as a boolean and the second as a
number. Then the API server refuses the manifest, or a step gets `1.0E-5`. Here every string is quoted, except strings
that start with a letter or a slash and are no word for a boolean or null.
"""

import re
from collections.abc import Iterable

import yaml

PLAIN = re.compile(r"[A-Za-z/](?:[\w ./-]*[\w./-])?")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


class _Dumper(yaml.SafeDumper):
    """Quotes strings that a reader might read as another type; never writes anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _write_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    plain = PLAIN.fullmatch(text) and text.lower() not in WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_Dumper.add_representer(str, _write_string)


def dump(documents: Iterable[object], heading: str = "") -> str:
    """Documents as YAML text below a heading, keys in the order given, the same bytes for the same values.

    >>> print(dump([{"rate": "1e-05", "answer": "y", "kind": "Pod", "count": 3}]), end="")
    rate: '1e-05'
    answer: 'y'
    kind: Pod
    count: 3
    """
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    return heading + text
