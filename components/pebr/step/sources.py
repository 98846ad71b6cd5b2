"""Which source files a module runs, read from the imports without running it."""

import ast
import hashlib
import importlib.util
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pebr
from pebr.errors import InputError

PACKAGE = Path(pebr.__file__).parent
_PARSING = threading.Lock()  # Python 3.11 cannot make syntax trees in two threads at a time (CPython issue 106905)


def code_of(module: str) -> dict[str, str]:
    """A digest of each source file that `python -m pebr.x` imports, by its path in `pebr`; {} for another module."""
    if not module.startswith("pebr."):
        return {}
    return digests(closure([f"{module}.__main__"], PACKAGE, "pebr"), PACKAGE)


def code_of_plugins(text: str) -> dict[str, str]:
    """A digest of each source file of functions outside `pebr`, and of the files beside it that it imports.

    Args:
        text: `package.module:function=weight` or `folder/file.py:function=weight`, separated by commas. What cannot be
            found has no digest: the step that runs it names the error.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        place = part.rpartition("=")[0].rpartition(":")[0].strip()
        if place.endswith(".py"):
            path = Path(place)
            found |= digests(closure([path.stem], path.parent), path.parent)
        elif top := _folder_of(place.partition(".")[0]):
            package = top.name if top.is_dir() and _is_installed(top) else ""
            root = top if package else top.parent
            found |= digests(closure([place], root, package), root)
    return found


def _folder_of(name: str) -> Path | None:
    """The folder of a top-level package, or the file of a top-level module; None if there is none."""
    try:
        spec = importlib.util.find_spec(name) if name else None
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    place = next(iter(spec.submodule_search_locations or ()), None) or spec.origin
    return Path(place) if place and Path(place).exists() else None


def digests(files: Iterable[Path], root: Path) -> dict[str, str]:
    """The SHA-256 of each file, shortened, by its path from `root`."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(files)
    }


def closure(modules: Iterable[str], root: Path, package: str = "") -> set[Path]:
    """The files below `root` that an import of these modules runs.

    Args:
        modules: dotted names.
        root: folder of the package, or of top-level modules. Packages installed beside them are not followed.
        package: dotted name of the folder; modules outside it do not count.
    """
    found: set[Path] = set()
    waiting = {path for module in modules for path in _files(module, root, package)}
    while waiting:
        path = waiting.pop()
        found.add(path)
        if package or not _is_installed(path):
            waiting |= {file for name in _imports(path, root, package) for file in _files(name, root, package)} - found
    return found


def _is_installed(path: Path) -> bool:
    return bool({"site-packages", "dist-packages"} & set(path.parts))


def _imports(path: Path, root: Path, package: str) -> Iterator[str]:
    """Modules that a source file imports anywhere, or, if they belong to the package, names in a string constant."""
    try:
        with _PARSING:
            tree = ast.parse(path.read_text())
    except SyntaxError as error:
        raise InputError(
            f"{path}, line {error.lineno}: {error.msg}: fix it, then start the same command again"
        ) from None
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module, names, level):
                words = path.relative_to(root).parts[:-level] if level else ()  # a relative import starts in its folder
                base = ".".join(filter(None, [package if level else "", *words, module]))
                yield from filter(None, (base, *(f"{base}.{name.name}".lstrip(".") for name in names)))
            case ast.Constant(str(text)) if package and re.fullmatch(rf"{package}(\.\w+)+", text):
                yield from (text, f"{text}.__main__")


def _files(module: str, root: Path, package: str) -> Iterator[Path]:
    """The files that an import of a module runs: its own and those of the packages around it."""
    words = module.split(".")
    if package:
        if words[0] != package:
            return
        words = words[1:]
    for length in range(0 if package else 1, len(words) + 1):
        base = root.joinpath(*words[:length])
        yield from (path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file())
