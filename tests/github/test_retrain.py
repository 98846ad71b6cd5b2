"""The workflow that retrains from CI: its own lines, in a new virtual environment, against a Kubeflow of the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pipelines.servers import Kubeflow, serving

ROOT = Path(__file__).parents[2]
JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "retrain.yml").read_text())["jobs"]
STEPS = {step["name"]: step for step in JOBS["train"]["steps"] if "name" in step}


def test_setuptools_is_pinned_as_in_the_makefile() -> None:
    """`pip install setuptools` would keep an old one that is there, which cannot read our pyproject.toml."""
    pin = '"setuptools>=77,<79"'
    assert pin in (ROOT / "Makefile").read_text()
    assert pin in STEPS["Install what compiles and submits"]["run"]


@pytest.mark.slow
def test_the_lines_install_compile_and_submit_when_nothing_was_published(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    server = Kubeflow()
    server.script = ["SUCCEEDED"]

    def leave_scores(run: Any) -> None:
        root = Path(run.runtime_config.pipeline_root) / "pebr-r1" / run.run_id
        for name, text in (
            ("evaluate-3/0a1b/metrics", '{"accuracy": 0.5}'),
            ("merge-2/0a1b/output/chat_template.jinja", "{{ messages }}"),
        ):
            (root / name).parent.mkdir(parents=True)
            (root / name).write_text(text)

    server.when_started = leave_scores
    known = {
        "PATH": f"{tmp_path / 'venv' / 'bin'}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "page.md"),
        "PEBR_IMAGE": "registry/pebr@sha256:" + "12" * 32,
        "PEBR_CLUSTER": "cpu",
        "RECIPE": "toy",
        "SETTINGS": "seed=7 sft_epochs=1",
        "GATE": STEPS["Submit, wait, gate, publish"]["env"]["GATE"].split("'")[1],
        "ARTIFACTS": str(tmp_path / "artifacts"),
        "PUBLISHED": str(tmp_path / "published"),
    }
    with serving(server):
        for step in STEPS.values():
            environment = os.environ | known | {"KFP_HOST": server.address}
            command = ["bash", "-e", "-o", "pipefail", "-c", step["run"]]  # as GitHub runs a script
            result = subprocess.run(
                command, cwd=tmp_path / "clone", env=environment, capture_output=True, text=True, check=False
            )
            assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "published" / "latest.json").read_text())["scores"] == {"accuracy": 0.5}
    assert "accuracy>=published-0.01" in (tmp_path / "page.md").read_text()
    assert server.runs[0].runtime_config.parameters["seed"] == 7
