"""Runs a step's command in its own container, as on a cluster: not as root, read-only root file system, no privileges.

The container sees only the step's own folder and its inputs, at the same paths as on this machine; inputs are
read-only. /tmp is a volume in memory that holds HOME and the caches (docker/Dockerfile).

The command runs under `pipelines/local/guard.py` inside the container. The guard's standard input is the runner's pipe,
so the container ends with the runner, also when the runner is killed. Docker's client passes SIGTERM to the command.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.ir.plan import Step

GUARD = "/opt/pebr/app/pipelines/local/guard.py"
PASSED = ("AWS_", "PEBR_", "HF_", "MLFLOW_", "WANDB_")  # prefixes of variables that the container gets
USER = 1234  # user of the container if the runner is root


@dataclass(frozen=True)
class Docker:
    """The image and network of the containers."""

    image: str  # name of the image
    network: str = "none"  # name of a Docker network; `none` for none

    def command(
        self, step: Step, words: Sequence[str], folder: Path, inputs: Iterable[Path], variables: dict[str, str]
    ) -> list[str]:
        """The `docker run` command line of a step that writes to `folder` and reads `inputs`.

        `variables` are environment variables in addition to the image's.
        """
        user, group = os.getuid() or USER, os.getgid()
        if os.getuid() == 0:
            os.chown(folder, user, group)
        memory = int(float(step.resources.get("memoryLimit", 0)) * 1e9)
        command = ["docker", "run", "--rm", "--interactive", "--user", f"{user}:{group}"]
        command += ["--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--workdir", "/tmp"]  # noqa: S108 - in the container
        command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", self.network]
        command += ["--memory", str(memory), "--shm-size", str(memory // 2)] if memory else []
        command += ["--gpus", "all"] if "accelerator" in step.resources else []
        command += ["--volume", f"{folder}:{folder}"]
        for path in sorted({*inputs, *_named_paths(words, folder)}):
            command += ["--volume", f"{path}:{path}:ro"]
        for name in sorted({name for name in os.environ if name.startswith(PASSED)} - variables.keys()):
            command += ["--env", name]  # Docker reads the value from the environment: no secrets on the command line
        for name, value in sorted(variables.items()):
            command += ["--env", f"{name}={value}"]
        return [*command, self.image, "python", "-I", "-S", GUARD, *words]


def _named_paths(words: Iterable[str], folder: Path) -> Iterable[Path]:
    """Existing absolute paths among the words of a command, such as the data of an ingest step."""
    for word in words:
        path = Path(word)
        if path.is_absolute() and not path.is_relative_to(folder) and len(word) < 4096 and path.exists():
            yield path
