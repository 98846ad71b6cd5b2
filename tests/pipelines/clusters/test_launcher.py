"""Steps on several nodes in the compiled pipeline: a small launcher, and nodes with all that one pod would have."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.compiler import Compiler

from pebr.errors import InputError
from pipelines import recipes
from pipelines.clusters.launcher import VARIABLE, launched, nodes
from pipelines.clusters.placement import Placement, placed
from pipelines.compile import COMPILED
from pipelines.forms import argo
from pipelines.ir.reader import Pipeline
from pipelines.parameters import check
from tests.pipelines.forms.argo_schema import reference_errors, schema_errors
from tests.pipelines.nodes.conftest import PLACEMENT

ROOT = Path(__file__).parents[3]
CLUSTER = """
defaults: {memory: 4G, metrics_port: 9464}
steps: {sft: {gpus: 8, nodes: 2}, grpo: {gpus: 8, nodes: 4, nodes_as: job}}
"""


@dsl.container_component
def work():
    """Do nothing."""
    return dsl.ContainerSpec(image="x", command=["true"])


def template(folder: Path, place: Any, placement: Placement) -> dict[str, Any]:
    """The template of a workflow's only step."""

    @dsl.pipeline(name="one")
    def pipeline():
        place(work(), placement)

    Compiler().compile(pipeline, str(folder / "one.yaml"))
    document = argo.workflow(Pipeline(folder / "one.yaml"))
    assert schema_errors(document) == []
    return document["spec"]["templates"][1]


@pytest.mark.parametrize("placement", [Placement(nodes=2), PLACEMENT], ids=["least", "all"])
def test_a_node_has_all_that_the_steps_own_pod_would_have(tmp_path: Path, placement: Placement) -> None:
    alone = template(tmp_path, placed, placement)
    pod = nodes(placement)["pod"]
    (node,) = pod["spec"]["containers"]
    assert node["resources"]["limits"] == alone["container"]["resources"]["limits"]
    assert node["resources"]["requests"].items() >= alone["container"]["resources"]["requests"].items()
    assert node["securityContext"] == alone["container"]["securityContext"]
    assert node.get("imagePullPolicy") == alone["container"].get("imagePullPolicy")
    for name in ("nodeSelector", "tolerations", "priorityClassName"):
        assert pod["spec"].get(name) == alone.get(name)

    def by_name(items: Any) -> dict[str, Any]:
        return {item["name"]: item for item in items}

    assert by_name(pod["spec"]["volumes"]) == by_name(alone["volumes"])
    assert by_name(node["volumeMounts"]) == by_name(alone["container"]["volumeMounts"])
    fields = {"PEBR_METRICS_PORT", "PEBR_RUN"}  # values here: a node's pod has not the labels of a workflow's
    variables = {name: entry for name, entry in by_name(node["env"]).items() if name not in fields}
    assert variables == {k: v for k, v in by_name(alone["container"].get("env", ())).items() if k not in fields}
    assert pod["metadata"].get("annotations", {}) == {
        key: value for key, value in alone["metadata"].get("annotations", {}).items() if not key.startswith("pebr/")
    }
    # Kueue's labels are for the job, which it admits as a whole.
    other = ("app.kubernetes.io/component", *(key for key in placement.labels if key.startswith("kueue")))
    assert {k: v for k, v in pod["metadata"]["labels"].items() if k not in other[:1]} == {
        k: v for k, v in alone["metadata"]["labels"].items() if k not in other
    }


def test_the_launcher_has_no_gpu_and_may_run_anywhere(tmp_path: Path) -> None:
    made = template(tmp_path, launched, PLACEMENT)
    assert made["container"]["resources"] == {"requests": {"cpu": "500m", "memory": "2G"}, "limits": {"memory": "2G"}}
    assert made["serviceAccountName"] == argo.LAUNCHER_ACCOUNT
    assert not {"nodeSelector", "tolerations"} & made.keys()
    assert not any(key.startswith("kueue") for key in made["metadata"]["labels"])
    assert made["metadata"]["labels"]["team"] == "vision"
    variables = {entry["name"]: entry for entry in made["container"]["env"]}
    assert json.loads(variables[VARIABLE]["value"]) == nodes(PLACEMENT)
    assert variables["PEBR_POD"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert "PEBR_S3_ENDPOINT" in variables


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole DAG for a cluster whose training steps have several nodes."""
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "mine.yaml").write_text(CLUSTER)
    environment = os.environ | {"PEBR_CLUSTER": str(folder / "mine.yaml")}
    command = [sys.executable, "-m", "pipelines.compile", "--into", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return folder


def test_in_the_dag_only_the_training_steps_are_launched_with_the_same_flags(compiled: Path) -> None:
    steps = {step.id: step for step in Pipeline(compiled / "pebr_r1.yaml").plan({})}
    alone = {step.id: step for step in Pipeline(COMPILED / "pebr_r1.yaml").plan({})}
    assert steps.keys() == alone.keys()
    for name, step in steps.items():
        assert step.module == alone[name].module
        assert step.on_nodes == (step.module in ("pebr.sft", "pebr.grpo"))
        own = [word for word in step.command if word != "pipelines.nodes"]
        assert own == list(alone[name].command)
    for name in ("workflow", "template"):
        document = yaml.safe_load((compiled / "argo" / f"{name}.yaml").read_text())
        assert schema_errors(document) == []
        assert list(reference_errors(document)) == []
        accounts = {t["name"]: t.get("serviceAccountName") for t in document["spec"]["templates"]}
        assert {n for n, account in accounts.items() if account} == {n for n, s in steps.items() if s.on_nodes}


def test_a_run_without_a_store_that_all_nodes_reach_is_refused_before_it_starts(compiled: Path) -> None:
    pipeline = Pipeline(compiled / "pebr_r1.yaml")
    values = recipes.load("toy", (), pipeline.inputs)
    given = {name: values.get(name, spec.get("defaultValue")) for name, spec in pipeline.inputs.items()}
    with pytest.raises(InputError, match="its nodes share no disk"):
        check(pipeline, given | {"checkpoints": "/checkpoints"})
    check(pipeline, given | {"checkpoints": "s3://pebr/checkpoints"})
