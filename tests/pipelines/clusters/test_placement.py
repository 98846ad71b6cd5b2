"""Cluster files: read strictly, and put on tasks in the IR."""

import dataclasses
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
from pipelines.clusters.checks import CHECKS
from pipelines.clusters.placement import CLUSTERS, Cluster, Placement, placed
from pipelines.compile import COMPILED
from pipelines.ir.reader import Pipeline

ROOT = Path(__file__).parents[3]


@dsl.container_component
def work():
    """Do nothing."""
    return dsl.ContainerSpec(image="x", command=["true"])


def compiled(folder: Path, placement: Placement) -> tuple[Pipeline, dict[str, Any]]:
    """A pipeline of one placed task, and what the IR tells Kubernetes of it."""

    @dsl.pipeline(name="one")
    def pipeline():
        placed(work(), placement)

    Compiler().compile(pipeline, str(folder / "one.yaml"))
    made = Pipeline(folder / "one.yaml")
    return made, made.kubernetes["exec-work"]


def cluster(folder: Path, text: str) -> Cluster:
    (folder / "mine.yaml").write_text(text)
    return Cluster(folder / "mine.yaml")


def test_a_steps_own_settings_win_over_the_defaults(tmp_path: Path) -> None:
    mine = cluster(tmp_path, "defaults: {memory: 4G, gpus: 1}\nsteps: {grpo: {gpus: 8}}\n")
    assert mine.of("grpo") == Placement(memory="4G", gpus=8)
    assert mine.of("split") == Placement(memory="4G", gpus=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: {gpu: 1}", "defaults: no setting gpu: known are cpu"),
        ("steps: {sft: {cpu: 4}}", "sft: cpu: 4 must be str"),
        ("steps: {sft: {gpus: true}}", "sft: gpus: True must be int"),
        ("defaults: {run_as_user: 0}", "0 is root"),
        ("defaults: {metrics_port: 70000}", "metrics_port: 70000: give 1 to 65535, or 0 for none"),
        ("step: {}", "step: unknown at the top level: give only defaults and steps"),
        ("steps: {grpoo: {gpus: 8}}", "steps: no step grpoo: known are evaluate, filter, grpo"),
        ("steps: {grpo: 8}", "grpo: 8: give a mapping"),
        ("defaults: [cpu]", "not a cluster file"),
        ("- cpu", "not a cluster file"),
        ("defaults: {cpu: [", "not YAML"),
        ('defaults: {cpu: "four"}', "cpu: 'four' is no number of CPUs"),
        ('defaults: {cpu: "-1"}', "cpu: '-1' is no number of CPUs"),
        ('defaults: {cpu: "0"}', "cpu: '0' is no number of CPUs"),
        ("defaults: {memory: 32GB}", "memory: '32GB' is no quantity"),
        ("defaults: {memory: 32 G}", "memory: '32 G' is no quantity"),
        ("defaults: {scratch: 1TB}", "scratch: '1TB' is no quantity"),
        ("defaults: {shared_memory: much}", "shared_memory: 'much' is no quantity"),
        ("defaults: {gpus: -1}", "gpus: -1: give at least 0"),
        ("defaults: {retries: -1}", "retries: -1: give at least 0"),
        ("defaults: {gpu_resource: nvidia.com/g pu}", "gpu_resource: 'nvidia.com/g pu' is no key"),
        ("defaults: {labels: {-team: a}}", "labels: '-team' is no key of a label"),
        ("defaults: {labels: {a/b/c: a}}", "labels: 'a/b/c' is no key of a label"),
        ("defaults: {labels: {team: a b}}", "labels: team: 'a b' is no value"),
        ("defaults: {labels: {team: 1}}", "labels: team: 1 is no value of a label"),
        ("defaults: {labels: [team]}", "labels: .* give a mapping"),
        (f"defaults: {{labels: {{team: {'a' * 64}}}}}", "no value of a label"),
        ("defaults: {annotations: {a: true}}", "annotations: a: True is no text"),
        ("defaults: {node_selector: {gpu type: a}}", "node_selector: 'gpu type' is no key"),
        ("defaults: {tolerations: {key: a}}", "tolerations: .* give a list"),
        ("defaults: {tolerations: [{key: a, effect: NoSchedul}]}", "effect: 'NoSchedul' is no effect: give NoSchedule"),
        ("defaults: {tolerations: [{key: a, operator: Is}]}", "operator: 'Is': give Exists or Equal"),
        ("defaults: {tolerations: [{key: a, operator: Exists, value: b}]}", "value: the operator Exists takes none"),
        ("defaults: {tolerations: [{effect: NoSchedule}]}", "key: the operator Equal needs one"),
        ("defaults: {tolerations: [{name: a}]}", "no setting name of a toleration"),
        ("defaults: {tolerations: [{key: a, operator: Exists, tolerationSeconds: 3}]}", "only the effect NoExecute"),
        ("defaults: {secrets: {pebr-s3: {key: MY-VARIABLE}}}", "secrets: pebr-s3: key: 'MY-VARIABLE' is no name"),
        ("defaults: {secrets: {Pebr: {key: A}}}", "secrets: 'Pebr' is no name of a resource"),
        ("defaults: {config: {pebr: [a]}}", "config: pebr: .* give a mapping"),
        ("defaults: {pull_policy: Sometimes}", "pull_policy: 'Sometimes' is no policy"),
        ("defaults: {pull_secrets: registry}", "pull_secrets: 'registry': give a list"),
        ("defaults: {priority_class: Very High}", "priority_class: 'Very High' is no name"),
        ("steps: {grpo: {nodes: 0}}", "grpo: nodes: 0: give at least 1"),
        ("steps: {grpo: {nodes: 2, nodes_as: pod}}", "nodes_as: 'pod' is no kind: give trainjob or job"),
        ("steps: {rollout: {nodes: 2}}", "rollout: nodes: only sft and grpo train on several nodes: set it there"),
        ("defaults: {nodes: 2}", "defaults: nodes: only sft and grpo train on several nodes: set it there"),
        ("defaults: {run_as_user: -2}", "run_as_user: -2: give at least -1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cluster(tmp_path, text)


def test_a_missing_file_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="one of cpu, gpu, or to a path"):
        Cluster(CLUSTERS / "tpu.yaml")


def test_nothing_is_asked_for_that_is_not_set(tmp_path: Path) -> None:
    _, kubernetes = compiled(tmp_path, Placement())
    assert kubernetes == {"securityContext": {"runAsNonRoot": True}}


def test_retries_outlast_every_attempt(tmp_path: Path) -> None:
    """Kubeflow counts their longest duration from the first attempt's start: with less, a long step has no retry."""
    pipeline, _ = compiled(tmp_path, Placement(timeout=3600, retries=3, backoff=20))
    policy = pipeline.document["root"]["dag"]["tasks"]["work"]["retryPolicy"]
    assert policy == {
        "maxRetryCount": 3,
        "backoffDuration": "20s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": f"{4 * 3600}s",
    }
    (step,) = pipeline.plan({})
    assert (step.retry.count, step.retry.wait, step.timeout) == (3, 20, 3600)


def test_memory_is_a_limit_and_gpus_have_their_resource_name(tmp_path: Path) -> None:
    pipeline, _ = compiled(tmp_path, Placement(cpu="2", memory="3G", gpus=2, gpu_resource="amd.com/gpu"))
    (step,) = pipeline.plan({})
    assert step.resources["resourceMemoryRequest"] == step.resources["resourceMemoryLimit"] == "3G"
    assert step.resources["accelerator"]["resourceType"] == "amd.com/gpu"
    assert step.resources["accelerator"]["resourceCount"] == "2"


@pytest.mark.parametrize("name", ["pebr_r1.yaml", "gpu/pebr_r1.yaml"])
def test_every_step_of_the_dag_is_placed(name: str) -> None:
    pipeline = Pipeline(COMPILED / name)
    file = Cluster(CLUSTERS / ("gpu.yaml" if "gpu" in name else "cpu.yaml"))
    for step in pipeline.plan({}):
        placement = file.of(step.module.removeprefix("pebr."))
        assert step.resources["resourceMemoryLimit"] == placement.memory, step.id
        assert int(step.resources.get("accelerator", {}).get("resourceCount", 0)) == placement.gpus, step.id
        assert step.timeout == placement.timeout > 0, step.id
        assert step.retry.count == placement.retries, step.id


def test_cluster_files_hold_names_of_secrets_only() -> None:
    for path in CLUSTERS.glob("*.yaml"):
        for settings in yaml.safe_load(path.read_text())["defaults"]["secrets"].values():
            assert all(variable.isupper() for variable in settings.values()), path


def test_every_setting_is_checked() -> None:
    assert set(CHECKS) == {field.name for field in dataclasses.fields(Placement)}


def test_what_kubernetes_takes_is_taken(tmp_path: Path) -> None:
    text = """
defaults:
  cpu: 500m
  memory: 1.5Gi
  labels: {kueue.x-k8s.io/queue-name: research, team: ''}
  tolerations: [{operator: Exists}, {key: a/b, value: c, effect: NoExecute, tolerationSeconds: 60}]
  annotations: {sidecar.istio.io/inject: "false"}
steps: {sft: {gpus: 8}, report: }
"""
    mine = cluster(tmp_path, text)
    assert mine.of("sft").gpus == 8
    assert mine.of("report").cpu == "500m"


def test_a_wrong_cluster_file_ends_compiling_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("steps: {grpoo: {gpus: 8}}\n")
    environment = os.environ | {"PEBR_CLUSTER": str(tmp_path / "mine.yaml")}
    command = [sys.executable, "-m", "pipelines.compile", "--into", str(tmp_path / "made")]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    known = "evaluate, filter, grpo, ingest, merge, report, rollout, sft, split"
    assert result.stderr == f"error: {tmp_path / 'mine.yaml'}: steps: no step grpoo: known are {known}\n"
