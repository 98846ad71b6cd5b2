"""Cluster files: read strictly, and put on tasks in the IR."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.compiler import Compiler

from pebr.errors import InputError
from pipelines.clusters.placement import CLUSTERS, Cluster, Placement, placed
from pipelines.compile import COMPILED
from pipelines.ir.reader import Pipeline


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
        ("step: {}", "step: unknown at the top level: give only defaults and steps"),
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
