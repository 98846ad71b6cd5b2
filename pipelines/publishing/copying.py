"""A copy of a stored model on this machine, from which it is pushed elsewhere."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pebr.store.opening import open_store


@contextmanager
def copied(model: str, files: Mapping[str, str]) -> Iterator[Path]:
    """Copy a model's files to a folder that is there while the block runs.

    Args:
        model: location of the files.
        files: further texts, by file name; they replace the model's own.
    """
    parent, _, folder = model.rstrip("/").rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch) / "model"
        open_store(parent or "/").get(folder, here)
        for file, text in files.items():
            (here / file).write_text(text, encoding="utf-8")
        yield here
