"""Install the reference registry beside this Python: `python tests/pipelines/publishing/fetch_registry.py`

It is the program of Debian's package docker-registry (CNCF distribution 2.8), unpacked and not installed. It needs
apt-get.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REGISTRY = Path(sys.executable).with_name("docker-registry")


def main() -> None:
    """Download the package and extract the program."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "docker-registry"], cwd=folder, check=True)
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg-deb", "--extract", str(package), f"{folder}/files"], check=True)
        shutil.copy(Path(folder) / "files" / "usr" / "bin" / "docker-registry", REGISTRY)
    print(REGISTRY)


if __name__ == "__main__":
    main()
