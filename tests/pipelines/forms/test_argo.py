"""The Argo form: fits Argo's schema, says what the IR says, and run, does what the runner does."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from kfp.compiler import Compiler

from pebr.errors import InputError
from pipelines.clusters.placement import Placement, placed
from pipelines.compile import COMPILED
from pipelines.forms import argo, quoting
from pipelines.ir.reader import Pipeline
from tests.pipelines.forms.argo_engine import KEY_FORMAT, Engine, pod_of, restricted_faults
from tests.pipelines.forms.argo_schema import reference_errors, schema_errors

COMMITTED = sorted(COMPILED.glob("*/argo/[tw]*.yaml"))


@dsl.container_component
def draw(
    output: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    rate: float = 1e-5,
    deep: bool = True,
    name: str = "",
):
    """Write the parameters to `output`, and a metric."""
    script = 'printf "%s %s %s" "$3" "$4" "$5" > "$1"; echo \'{"accuracy": 0.5}\' > "$2"'
    arguments = [script, "sh", output.path, metrics.path, rate, deep, name]
    return dsl.ContainerSpec(image="pebr:test", command=["sh", "-c"], args=arguments)


@dsl.container_component
def count(rows: dsl.OutputPath(int), source: dsl.Input[dsl.Dataset]):
    """Count the letters of `source`."""
    return dsl.ContainerSpec(
        image="pebr:test", command=["sh", "-c"], args=['wc -c < "$1" | tr -d "\\n" > "$2"', "sh", source.path, rows]
    )


@dsl.container_component
def mark(source: dsl.Input[dsl.Dataset], output: dsl.Output[dsl.Dataset], sign: str, size: int = 0):
    """Append a sign."""
    return dsl.ContainerSpec(
        image="pebr:test",
        command=["sh", "-c"],
        args=['{ cat "$1"; printf "%s%s" "$3" "$4"; } > "$2"', "sh", source.path, output.path, sign, size],
    )


@dsl.pipeline(name="branches", description="Conditions on a parameter and on an output.")
def branches(rate: float = 1e-5, deep: bool = False, prefix: str = "", least: int = 3):
    """A pipeline.

    Args:
        rate: a number that YAML readers quarrel about.
    """
    drawn = draw(rate=rate, deep=deep, name=f"{prefix}/x").set_display_name("Draw it")
    counted = count(source=drawn.outputs["output"])
    with dsl.If(deep == True):  # noqa: E712
        left = mark(source=drawn.outputs["output"], sign="deep")
    with dsl.Else():
        right = mark(source=drawn.outputs["output"], sign="flat")
    joined = mark(
        source=dsl.OneOf(left.outputs["output"], right.outputs["output"]), sign="|", size=counted.outputs["rows"]
    )
    with dsl.If(counted.outputs["rows"] > 15):
        mark(source=joined.outputs["output"], sign="long").set_display_name("Long")


def compiled(pipeline: Any, folder: Path) -> Pipeline:
    path = folder / "pipeline.yaml"
    Compiler().compile(pipeline, str(path))
    return Pipeline(path)


def single(folder: Path, change: Callable[[Any], Any]) -> dict[str, Any]:
    """The one container template of a pipeline with one task, changed."""

    @dsl.pipeline(name="single")
    def pipeline():
        change(draw())

    document = argo.workflow(compiled(pipeline, folder))
    assert schema_errors(document) == []
    return document["spec"]["templates"][1]


def read_as_go(text: str) -> Any:
    """YAML as kubectl's reader takes it: what stands plain and is a number or a boolean to anyone is that to it."""

    class Reader(yaml.SafeLoader):
        pass

    boolean = re.compile(r"^(y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
    number = re.compile(
        r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^0[xob][0-9a-fA-F_]+$|^[-+]?\.(inf|nan)$"
    )
    for letter in "yYnNtTfFoO":
        Reader.add_implicit_resolver("!boolean", boolean, letter)
    for letter in "-+.0123456789":
        Reader.add_implicit_resolver("!number", number, letter)
    Reader.add_constructor("!boolean", lambda loader, node: node.value.lower() in ("y", "yes", "true", "on"))
    Reader.add_constructor("!number", lambda loader, node: float(node.value))
    return list(yaml.load_all(text, Reader))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-3:]))
def test_committed_manifests_fit_argo(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert schema_errors(document) == []
    assert list(reference_errors(document)) == []


def test_the_schema_check_finds_what_argo_would_refuse() -> None:
    document = yaml.safe_load(COMMITTED[0].read_text())
    template = document["spec"]["templates"][1]
    template["retryStategy"] = template.pop("retryStrategy")
    template["container"]["args"][0] = 3
    assert len(schema_errors(document)) == 2


def test_the_reference_check_finds_dangling_references() -> None:
    document = yaml.safe_load(COMMITTED[0].read_text())
    tasks = document["spec"]["templates"][0]["dag"]["tasks"]
    first, last = tasks[0], tasks[-1]
    last["arguments"]["artifacts"][0]["from"] = "{{tasks.nobody.outputs.artifacts.output}}"
    first["when"] = "{{=workflow.parameters.nothing == ''}}"
    assert len(list(reference_errors(document))) == 2


@pytest.mark.parametrize(
    "values", [{}, {"deep": True, "prefix": "a b'c\"d", "rate": 2e-6}, {"rate": 3.0, "prefix": "/y"}]
)
def test_run_by_argo_it_makes_what_the_runner_makes(runner: Any, tmp_path: Path, values: dict[str, Any]) -> None:
    pipeline = runner.compile(branches)
    changes = [f"--set={name}={argo.written(value)}" for name, value in values.items()]
    result = runner.run(pipeline, *changes)
    assert result.returncode == 0, result.stderr
    document = yaml.safe_load(quoting.dump([argo.workflow(Pipeline(pipeline))]))
    assert schema_errors(document) == []
    assert list(reference_errors(document)) == []
    engine = Engine(document, tmp_path / "argo", {name: argo.written(value) for name, value in values.items()})
    engine.run()
    ends = {"done": "Succeeded", "skipped": "Skipped"}
    assert engine.status == {step: ends[state] for step, state in runner.states().items()}
    assert set(engine.status.values()) == {"Succeeded", "Skipped"}
    for step, status in runner.statuses().items():
        for output in status["artifacts"]:
            assert engine.artifact(step, output).read_text() == runner.text(step, output), (step, output)


@pytest.mark.parametrize(("code", "attempts"), [(1, 3), (75, 3), (2, 1), (0, 1)])
def test_a_wrong_input_is_not_tried_again_and_all_else_is(tmp_path: Path, code: int, attempts: int) -> None:
    @dsl.container_component
    def end(code: int):
        """End with an exit code."""
        return dsl.ContainerSpec(image="x", command=["sh", "-c"], args=["exit $1", "sh", code])

    @dsl.pipeline(name="ends")
    def pipeline(code: int):
        end(code=code).set_retry(2, backoff_duration="7s", backoff_factor=3.0)

    document = argo.workflow(compiled(pipeline, tmp_path))
    assert document["spec"]["templates"][1]["retryStrategy"]["backoff"] == {"duration": "7s", "factor": "3"}
    engine = Engine(document, tmp_path, {"code": str(code)})
    engine.run()
    assert engine.attempts == {"end": attempts}
    assert engine.status == {"end": "Succeeded" if code == 0 else "Failed"}


def test_placement_reaches_the_pod(tmp_path: Path) -> None:
    placement = Placement(
        cpu="4", memory="32G", gpus=8, shared_memory="64Gi", scratch="100Gi", cache_claim="models", timeout=3600,
        run_as_user=1234, labels={"kueue.x-k8s.io/queue-name": "research"}, annotations={"a/b": "true"},
        priority_class="training", node_selector={"gpu": "h100"},
        pull_policy="IfNotPresent", pull_secrets=("registry",),
        tolerations=({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        secrets={"pebr-s3": {"access-key": "AWS_ACCESS_KEY_ID"}},
        config={"pebr-store": {"endpoint": "PEBR_S3_ENDPOINT"}}, metrics_port=9464,
    )  # fmt: skip
    template = single(tmp_path, lambda task: placed(task, placement))
    container = template["container"]
    assert container["resources"] == {
        "requests": {"cpu": "4", "memory": "32G"},
        "limits": {"memory": "32G", "nvidia.com/gpu": "8"},
    }
    assert template["activeDeadlineSeconds"] == 3600
    assert template["nodeSelector"] == {"gpu": "h100"}
    assert template["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "research"
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": "9464", "prometheus.io/path": "/metrics"}
    assert template["metadata"]["annotations"] == {"a/b": "true", **scraped}
    port = {"fieldRef": {"fieldPath": "metadata.annotations['prometheus.io/port']"}}
    assert {"name": "PEBR_METRICS_PORT", "valueFrom": port} in container["env"]
    assert template["priorityClassName"] == "training"
    assert {v["name"]: v.get("emptyDir") for v in template["volumes"]} == {
        "shm": {"medium": "Memory", "sizeLimit": "64Gi"},
        "scratch": {"sizeLimit": "100Gi"},
        "models": None,
    }
    assert {m["name"]: m["mountPath"] for m in container["volumeMounts"]} == {
        "shm": "/dev/shm",
        "scratch": "/tmp",
        "models": "/cache",
    }
    secret = {"secretKeyRef": {"name": "pebr-s3", "key": "access-key", "optional": True}}
    assert {"name": "AWS_ACCESS_KEY_ID", "valueFrom": secret} in container["env"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["securityContext"]["runAsUser"] == 1234


def test_a_step_that_is_told_to_stop_has_time_for_a_checkpoint_and_old_workflows_go() -> None:
    spec = argo.specification(Pipeline(COMPILED / "pebr_r1.yaml"))
    assert yaml.safe_load(spec["podSpecPatch"])["terminationGracePeriodSeconds"] >= 300
    assert spec["ttlStrategy"]["secondsAfterCompletion"] > 24 * 3600


def test_containers_have_no_privileges(tmp_path: Path) -> None:
    document = argo.workflow(compiled(branches, tmp_path))
    assert document["spec"]["securityContext"]["runAsNonRoot"] is True
    assert document["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for template in document["spec"]["templates"][1:]:
        context = template["container"]["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in {mount["mountPath"] for mount in template["container"]["volumeMounts"]}


def test_every_value_of_a_manifest_is_what_go_reads(tmp_path: Path) -> None:
    document = argo.workflow(compiled(branches, tmp_path))
    text = quoting.dump([document])
    assert read_as_go(text) == [document]
    assert quoting.dump([argo.workflow(compiled(branches, tmp_path))]) == text


@pytest.mark.parametrize(
    "value",
    ["y", "NO", "1e-05", "0x1F", "1_000", "12:30:45", "~", "", "- a", "a: b", "null", "a #b", "é", "x\ny\n", " a"],
)
def test_strings_stay_strings(value: str) -> None:
    text = quoting.dump([{"key": value, value: 1}])
    assert yaml.safe_load(text) == {"key": value, value: 1}
    assert read_as_go(text) == [{"key": value, value: 1}]


def test_steps_share_one_image_that_a_run_may_choose(tmp_path: Path) -> None:
    spec = argo.specification(compiled(branches, tmp_path))
    assert spec["arguments"]["parameters"][0]["value"] == "pebr:test"
    assert {t["container"]["image"] for t in spec["templates"][1:]} == {"{{workflow.parameters.image}}"}


def test_steps_of_several_images_keep_theirs(tmp_path: Path) -> None:
    @dsl.container_component
    def other():
        """Do nothing."""
        return dsl.ContainerSpec(image="other:1", command=["true"])

    @dsl.pipeline(name="two-images")
    def pipeline():
        draw()
        other()

    spec = argo.specification(compiled(pipeline, tmp_path))
    assert {t["container"]["image"] for t in spec["templates"][1:]} == {"pebr:test", "other:1"}
    assert "image" not in {p["name"] for p in spec["arguments"]["parameters"]}


def test_gpu_manifests_name_images_by_digest_and_none_holds_a_secret_or_a_path_of_this_machine() -> None:
    for path in COMPILED.rglob("*.yaml"):
        text = path.read_text()
        assert str(Path.cwd()) not in text
        assert os.uname().nodename not in text
        assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|hf_[A-Za-z]{20}|password", text), path
        if "gpu" in path.parts:
            images = re.findall(r"(?:image: |value: )['\"]?(\S+/pebr\S*)", text)
            assert images or path.name == "kustomization.yaml"
            assert all(re.fullmatch(r"\S+@sha256:[0-9a-f]{64}['\"]?", image) for image in images), path


def test_a_setting_that_argo_would_not_get_is_refused(tmp_path: Path) -> None:
    from kfp import kubernetes

    with pytest.raises(InputError, match="configMapAsVolume: not supported on Argo"):
        single(tmp_path, lambda task: kubernetes.use_config_map_as_volume(task, "settings", "/settings"))


def test_double_braces_in_a_value_are_refused(tmp_path: Path) -> None:
    @dsl.pipeline(name="braces")
    def pipeline():
        draw(name="{{workflow.creationTimestamp}}")

    with pytest.raises(InputError, match="double braces"):
        argo.workflow(compiled(pipeline, tmp_path))


@dsl.container_component
def leave(files: int, output: dsl.Output[dsl.Dataset]):
    """Write a folder of so many files."""
    script = 'mkdir -p "$1"; for i in $(seq $2); do echo "$2" > "$1/$i"; done'
    return dsl.ContainerSpec(image="x", command=["sh", "-c"], args=[script, "sh", output.path, files])


@dsl.container_component
def read(source: dsl.Input[dsl.Dataset], output: dsl.Output[dsl.Dataset]):
    """Join the files of a folder."""
    return dsl.ContainerSpec(
        image="x", command=["sh", "-c"], args=['cat "$1"/* | tr -d "\\n" > "$2"', "sh", source.path, output.path]
    )


@dsl.pipeline(name="folders")
def folders(files: int):
    """A pipeline."""
    read(source=leave(files=files).outputs["output"])


@pytest.mark.parametrize(
    ("key", "read_files"), [(KEY_FORMAT, "1"), ("runs/{{workflow.name}}/{{pod.name}}", "133")], ids=["ours", "no uid"]
)
def test_a_workflow_that_is_submitted_again_under_its_name_reads_its_own_files(
    tmp_path: Path, key: str, read_files: str
) -> None:
    """Argo writes a folder over what lies there: here three files of a deleted workflow, then one."""
    document = argo.workflow(compiled(folders, tmp_path))
    for files in ("3", "1"):
        engine = Engine(document, tmp_path / "argo", {"files": files}, key=key)
        shutil.rmtree(tmp_path / "argo" / "pods", ignore_errors=True)
        engine.run()
    assert engine.artifact("read", "output").read_text() == read_files


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: "/".join(path.parts[-3:]))
def test_every_pod_of_the_committed_manifests_fits_the_standard_restricted(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["spec"]
    for template in spec["templates"][1:]:
        assert restricted_faults(pod_of(spec, template)) == []


def test_without_a_patch_argos_own_containers_are_refused(tmp_path: Path) -> None:
    document = argo.workflow(compiled(folders, tmp_path))
    del document["spec"]["podSpecPatch"]
    engine = Engine(document, tmp_path / "argo", {"files": "1"})
    engine.run()
    (node,) = engine.nodes
    assert node["phase"] == "Pending"
    assert "init: allowPrivilegeEscalation" in node["message"]
    assert "main" not in node["message"]
