"""Linters of the Dockerfile, shell scripts and workflows; the files that the image is built from."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def checked(*command: str) -> None:
    """Run a linter on the repository."""
    program = BIN / command[0]
    assert program.exists() or shutil.which(command[0]), f"{command[0]}: pip install -e '.[dev]'"
    result = subprocess.run([str(program), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    checked("hadolint", "docker/Dockerfile")


def test_shell_scripts_pass_shellcheck() -> None:
    scripts = [str(path.relative_to(ROOT)) for path in (ROOT / "docker").glob("*.sh")]
    scripts += [".ci/run", "tests/monitoring/install"]
    checked("shellcheck", *scripts)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_fit_their_schema(path: Path) -> None:
    checked("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))


def test_shell_in_workflows_passes_shellcheck(tmp_path: Path) -> None:
    import yaml

    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for i, step in enumerate(job["steps"]):
                if "run" in step:
                    script = tmp_path / f"{path.stem}-{name}-{i}.sh"
                    script.write_text("#!/usr/bin/env bash\n" + step["run"])
                    assert "${{" not in step["run"], "inputs must reach a script by its environment"
                    checked("shellcheck", "--severity=warning", str(script))


def test_the_build_sees_only_what_it_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for line in (ROOT / "docker" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    assert let_in == copied
