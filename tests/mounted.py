"""Runs commands in their own mount namespace, with a small or read-only file system."""

import os
import shutil
import subprocess
from pathlib import Path

_MOUNT = (
    'mount -t tmpfs -o "$1" tmpfs "$2" && cd / && shift 2 && "$@"; code=$?; find "$PLACE" -mindepth 1 >&3; exit $code'
)
_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]


def run_in(place: Path, options: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a tmpfs with these mount options at `place`; standard output lists the files left there."""
    return subprocess.run(
        ["sh", "-c", '"$@" 3>&1', "sh", *_NAMESPACE, options, str(place), *command],
        env={**os.environ, "PLACE": str(place)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def may_mount(place: Path) -> bool:
    """True if this machine allows such commands; containers without user namespaces do not."""
    return bool(shutil.which("unshare")) and run_in(place, "size=1m", "true").returncode == 0
