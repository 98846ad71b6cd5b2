"""All committed compiled files, and Kubeflow's own resources."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp.compiler import Compiler, KubernetesManifestOptions

from pipelines import recipes
from pipelines.compile import COMPILED
from pipelines.forms import folders as forms
from pipelines.ir.reader import Pipeline
from pipelines.ir.values import written
from pipelines.pebr_r1 import pebr_r1

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files, compiled in a process of its own: hera, which other tests import, changes how YAML is written."""
    folder = tmp_path_factory.mktemp("fresh")
    code = "import pathlib, sys; from pipelines.compile import write_all; write_all(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    return folder


def test_the_committed_files_are_the_sources(fresh: Path) -> None:
    names = {str(path.relative_to(fresh)) for path in fresh.rglob("*.yaml")}
    assert names == {str(path.relative_to(COMPILED)) for path in COMPILED.rglob("*.yaml")}
    for name in sorted(names):
        assert (COMPILED / name).read_bytes() == (fresh / name).read_bytes(), f"{name}: run make compile"


def test_kubeflows_resources_are_what_the_sdk_would_write(tmp_path: Path) -> None:
    path = tmp_path / "sdk.yaml"
    options = KubernetesManifestOptions(include_pipeline_manifest=True)
    Compiler().compile(pebr_r1, str(path), kubernetes_manifest_options=options, kubernetes_manifest_format=True)
    theirs = list(yaml.safe_load_all(path.read_text()))
    ours = list(yaml.safe_load_all((COMPILED / "cpu" / "kubeflow" / "pipeline.yaml").read_text()))
    assert ours[0] == theirs[0]
    version = ours[1]["metadata"].pop("name")
    assert ours[1]["spec"].pop("displayName") == version
    del theirs[1]["metadata"]["name"], theirs[1]["spec"]["displayName"]
    inputs = theirs[1]["spec"]["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    for name, value in recipes.load("toy", (), inputs).items():
        inputs[name]["defaultValue"] = value  # the cpu files have the values of the recipe toy
    assert ours[1] == theirs[1]


def test_another_pipeline_is_another_version() -> None:
    """What is in a PipelineVersion cannot be changed once it is there."""
    names = {
        forms.kubeflow(Pipeline(COMPILED / name))[1]["metadata"]["name"]
        for name in ("pebr_r1.yaml", "gpu/pebr_r1.yaml")
    }
    assert len(names) == 2
    assert all(name.startswith("pebr-r1-") and len(name) < 64 for name in names)


def test_what_a_kubectl_apply_remembers_fits_its_annotation() -> None:
    """kubectl keeps what was applied in an annotation, of at most 262144 bytes with all others."""
    for path in COMPILED.glob("*/argo/*.yaml"):
        assert max(sizes(path)) < 250_000, path


def test_a_pipeline_version_fits_the_cluster() -> None:
    """etcd takes at most 1.5 MiB per object: a version that is applied with --server-side, and the Workflow of a run,
    in which Kubeflow repeats parts of the version for each step."""
    for path in COMPILED.glob("*/kubeflow/pipeline.yaml"):
        assert max(sizes(path)) < 500_000, path
        assert path.read_text().startswith("# Apply with kubectl apply --server-side"), path


def sizes(path: Path) -> list[int]:
    """The bytes of each manifest as JSON."""
    return [len(json.dumps(made, separators=(",", ":"))) for made in yaml.safe_load_all(path.read_text())]


def test_an_image_of_ones_own_needs_a_folder_of_its_own() -> None:
    environment = os.environ | {"PEBR_IMAGE": "registry/pebr@sha256:1"}
    command = [sys.executable, "-m", "pipelines.compile"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--into" in result.stderr


def test_a_workflow_of_the_cpu_files_is_the_recipe_toy() -> None:
    """`kubectl create -f` gives no parameters: the method's own numbers would never end on a CPU."""
    values = recipes.load("toy", (), Pipeline(COMPILED / "pebr_r1.yaml").inputs)
    for name in ("workflow", "template"):
        document = yaml.safe_load((COMPILED / "cpu" / "argo" / f"{name}.yaml").read_text())
        given = {p["name"]: p["value"] for p in document["spec"]["arguments"]["parameters"]}
        assert {key: given[key] for key in values} == {key: written(value) for key, value in values.items()}
