"""YAML that every reader takes as it was meant, YAML 1.1 readers and Go's among them.

PyYAML writes the strings `y` and `1e-05` without quotes; the reader of kubectl takes the first for a boolean and the
second for a number, and the API server refuses the manifest, or worse, a step gets `1.0E-5`. Here every string has
quotes but those that no reader can take for anything else: they start with a letter or a slash and are no word for a
truth value or for nothing.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

PLAIN = re.compile(r"[A-Za-z/](?:[\w ./-]*[\w./-])?")
WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}


class _Dumper(yaml.SafeDumper):
    """Quotes strings that a reader might take for something else; never writes anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    plain = PLAIN.fullmatch(text) and text.lower() not in WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_Dumper.add_representer(str, _write_string)


def dump(documents: Iterable[Any], heading: str = "") -> str:
    """Documents as YAML text, keys in the order given, the same bytes for the same values.

    Args:
        documents: mappings, lists and scalars.
        heading: comment lines to stand above, each with its `#`.

    >>> print(dump([{"rate": "1e-05", "answer": "y", "kind": "Pod", "count": 3}]), end="")
    rate: '1e-05'
    answer: 'y'
    kind: Pod
    count: 3
    """
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
    return heading + text
