"""A step's command in a container of its own, as on a cluster: any user but root, read-only root, no privileges.

The container sees the step's own folder and its inputs, at the paths they have here, and nothing else of this machine;
inputs are read-only. /tmp is a volume in memory, HOME and caches are there (docker/Dockerfile). The network is Docker's
network of the given name, `none` for none.

The command runs under `pipelines/local/guard.py` inside the container, whose standard input is the runner's pipe: the
container ends with the runner, also when that is killed. SIGTERM reaches the command through Docker's client.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.ir.plan import Step

GUARD = "/opt/pebr/app/pipelines/local/guard.py"
PASSED = ("AWS_", "PEBR_", "HF_")  # variables with these beginnings go along: where the store is, and its credentials
USER = 1234  # when the runner is root, which no step may be


@dataclass(frozen=True)
class Docker:
    """Where containers come from and what they reach.

    Attributes:
        image: name of the image.
        network: name of a Docker network; `none` for none.
    """

    image: str
    network: str = "none"

    def command(
        self, step: Step, words: Sequence[str], folder: Path, inputs: Iterable[Path], variables: dict[str, str]
    ) -> list[str]:
        """The `docker run` command line of a step.

        Args:
            step: the step.
            words: its command.
            folder: where it writes.
            inputs: the files and folders that it reads.
            variables: its environment, besides that of the image.
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
            command += ["--env", name]  # the value is taken from the environment: secrets stay off the command line
        for name, value in sorted(variables.items()):
            command += ["--env", f"{name}={value}"]
        return [*command, self.image, "python", "-I", "-S", GUARD, *words]


def _named_paths(words: Iterable[str], folder: Path) -> Iterable[Path]:
    """Absolute paths of this machine among the words of a command, such as the data that an ingest step brings."""
    for word in words:
        path = Path(word)
        if path.is_absolute() and not path.is_relative_to(folder) and len(word) < 4096 and path.exists():
            yield path
