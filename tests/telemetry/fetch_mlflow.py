"""Install MLflow's server beside this Python: `python tests/telemetry/fetch_mlflow.py`

It has a virtual environment of its own, because it needs an older pyarrow than pebr.
"""

import subprocess
import sys
from pathlib import Path

MLFLOW = Path(sys.prefix) / "mlflow" / "bin" / "mlflow"
VERSION = "mlflow==3.17.2"


def main() -> None:
    """Make the environment, unless it is there."""
    if not MLFLOW.exists():
        folder = MLFLOW.parents[1]
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, VERSION], check=True)
    print(MLFLOW)


if __name__ == "__main__":
    main()
