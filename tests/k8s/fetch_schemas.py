"""Install the published schemas of KServe, Kubeflow Trainer, JobSet and Model Registry beside this Python.

`python tests/k8s/fetch_schemas.py`. They are the Python clients that these projects make from their API definitions.
Without their dependencies: only the modules with the models are used (`tests/k8s/schemas.py`).
"""

import subprocess
import sys
from pathlib import Path

PACKAGES = ("kserve==0.21.0", "kubeflow-trainer-api==2.3.0", "model-registry==0.3.18")
SCHEMAS = Path(sys.prefix) / "schemas"


def main() -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", str(SCHEMAS)]
    subprocess.run([*command, *PACKAGES], check=True)
    print(SCHEMAS)


if __name__ == "__main__":
    main()
