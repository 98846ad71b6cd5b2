"""Commands in a mount namespace of their own, with a small or read-only file system made for them."""

import os
import shutil
import subprocess
from pathlib import Path

_MOUNT = (
    'mount -t tmpfs -o "$1" tmpfs "$2" && cd / && shift 2 && "$@"; code=$?; find "$PLACE" -mindepth 1 >&3; exit $code'
)
_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]


def run_in(place: Path, options: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a tmpfs of these mount options at `place`; standard output is what it left there."""
    return subprocess.run(
        ["sh", "-c", '"$@" 3>&1', "sh", *_NAMESPACE, options, str(place), *command],
        env={**os.environ, "PLACE": str(place)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def may_mount(place: Path) -> bool:
    """Containers without user namespaces cannot run such commands."""
    return bool(shutil.which("unshare")) and run_in(place, "size=1m", "true").returncode == 0
