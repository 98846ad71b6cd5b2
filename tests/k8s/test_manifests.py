"""Kustomize builds: strictly valid, with least rights, no secrets, and images by digest."""

import os
import re
import shutil
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.forms import argo
from tests.k8s.fetch_kubectl import KUBECTL
from tests.pipelines.forms.argo_schema import reference_errors, schema_errors

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
OVERLAYS = ("kind-cpu", "gpu")
BUILDS = [
    "k8s/monitoring",
    "k8s/jobs/weekly",
    *(f"k8s/overlays/{name}" for name in OVERLAYS),
    *(f"pipelines/compiled/{c}/kubeflow" for c in ("cpu", "gpu")),
]
OWN_KINDS = {"Workflow", "WorkflowTemplate", "Pipeline", "PipelineVersion", "PodMonitor", "PrometheusRule"}


@cache
def built(folder: str) -> list[dict[str, Any]]:
    """The manifests that `kubectl apply -k` would send."""
    program = str(KUBECTL) if KUBECTL.exists() else shutil.which("kubectl")
    if not program:
        message = "needs kubectl 1.29 or newer: python tests/k8s/fetch_kubectl.py"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    result = subprocess.run([program, "kustomize", folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return list(yaml.safe_load_all(result.stdout))


def overlay(name: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["kind"], item["metadata"]["name"]): item for item in built(f"k8s/overlays/{name}")}


def of_kind(name: str, kind: str) -> list[dict[str, Any]]:
    return [item for item in built(f"k8s/overlays/{name}") if item["kind"] == kind]


def pods(name: str) -> list[dict[str, Any]]:
    """The specification of every pod in an overlay."""
    found = []
    for item in built(f"k8s/overlays/{name}"):
        match item["kind"]:
            case "Job" | "StatefulSet" | "Deployment":
                found.append(item["spec"]["template"]["spec"])
            case "CronJob":
                found.append(item["spec"]["jobTemplate"]["spec"]["template"]["spec"])
    return found


@pytest.mark.parametrize("folder", BUILDS)
def test_every_resource_is_valid(folder: str) -> None:
    for item in built(folder):
        if item["kind"] not in OWN_KINDS:
            kubernetes_validate.validate(item, "1.32", strict=True)
        if item["kind"].startswith("Workflow"):
            assert schema_errors(item) == []
            assert list(reference_errors(item)) == []


def test_the_validation_is_strict() -> None:
    job = yaml.safe_load((K8S / "jobs" / "run" / "run.yaml").read_text())
    job["spec"]["backofLimit"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.32", strict=True)


def test_secret_examples_are_valid_and_empty() -> None:
    for secret in yaml.safe_load_all((K8S / "secrets.example.yaml").read_text()):
        kubernetes_validate.validate(secret, "1.32", strict=True)
        assert set(secret["stringData"].values()) == {""}


def test_what_kubeflow_needs_names_the_keys_of_the_secret_and_of_the_store() -> None:
    launcher, store, role, binding = yaml.safe_load_all((K8S / "kubeflow.example.yaml").read_text())
    for item in (launcher, store, role, binding):
        kubernetes_validate.validate(item, "1.32", strict=True)
    (own,) = [r for r in of_kind("gpu", "Role") if r["metadata"]["name"] == "pebr-launcher"]
    assert role["rules"] == [rule for rule in own["rules"] if rule["resources"] != ["jobs"]]
    reference = yaml.safe_load(launcher["data"]["providers"])["s3"]["default"]["credentials"]["secretRef"]
    secrets = {s["metadata"]["name"]: s for s in yaml.safe_load_all((K8S / "secrets.example.yaml").read_text())}
    assert {reference["accessKeyKey"], reference["secretKeyKey"]} == set(secrets[reference["secretName"]]["stringData"])
    base = next(yaml.safe_load_all((K8S / "base" / "store.yaml").read_text()))
    assert store["metadata"]["name"] == base["metadata"]["name"]
    assert store["data"].keys() == base["data"].keys()


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_make_no_secret_and_name_only_known_ones(name: str) -> None:
    assert not of_kind(name, "Secret")
    example = {
        s["metadata"]["name"]: set(s["stringData"])
        for s in yaml.safe_load_all((K8S / "secrets.example.yaml").read_text())
    }
    text = yaml.safe_dump(pods(name) + of_kind(name, "WorkflowTemplate"))
    references = re.findall(r"secretKeyRef:\n\s+key: (\S+)\n\s+name: (\S+)", text)
    assert references
    assert all(key in example[secret] for key, secret in references)


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_run_without_privileges(name: str) -> None:
    for pod in pods(name):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_rights_are_the_least(name: str) -> None:
    roles = {role["metadata"]["name"]: role["rules"] for role in of_kind(name, "Role")}
    assert not of_kind(name, "ClusterRole")
    for role, rules in roles.items():
        for rule in rules:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            assert not {"update", "deletecollection"} & set(rule["verbs"])
            if role != "pebr-launcher" or not {"jobs", "trainjobs"} & set(rule["resources"]):
                assert "delete" not in rule["verbs"]
    assert roles["pebr-workflow"] == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    accounts = {account["metadata"]["name"] for account in of_kind(name, "ServiceAccount")}
    for pod in pods(name):
        assert pod.get("serviceAccountName") in accounts or pod["automountServiceAccountToken"] is False
    for template in of_kind(name, "WorkflowTemplate"):
        assert template["spec"]["serviceAccountName"] in accounts
    assert {argo.SERVICE_ACCOUNT, argo.LAUNCHER_ACCOUNT} <= accounts


def test_submitting_needs_no_more_than_its_role_allows() -> None:
    """The verbs and resources that the targets use."""
    (role,) = [r for r in of_kind("gpu", "Role") if r["metadata"]["name"] == "pebr-submitter"]
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    source = "".join(path.read_text() for path in (ROOT / "pipelines" / "targets").glob("*.py"))
    calls = set(re.findall(r"\.(create|list|get|read|delete|patch)_namespaced_(job|pod|custom_object)\b", source))
    names = {"job": "jobs", "pod": "pods", "custom_object": "workflows"}
    used = {(names[kind], "get" if verb == "read" else verb) for verb, kind in calls}
    assert used
    assert used <= allowed


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_pod_is_behind_a_network_policy(name: str) -> None:
    everybody = [
        p
        for p in of_kind(name, "NetworkPolicy")
        if p["spec"]["podSelector"] == {} and "Ingress" in p["spec"]["policyTypes"]
    ]
    assert everybody
    assert all("ingress" not in policy["spec"] for policy in everybody)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_namespaces_quota_holds_its_largest_step(name: str) -> None:
    def bytes_of(quantity: str) -> float:
        number, unit = re.fullmatch(r"([\d.]+)(\w*)", quantity).groups()
        return float(number) * {"": 1, "G": 1e9, "Gi": 2**30, "Mi": 2**20}[unit]

    (quota,) = of_kind(name, "ResourceQuota")
    hard = quota["spec"]["hard"]
    for template in of_kind(name, "WorkflowTemplate"):
        for step in template["spec"]["templates"][1:]:
            limits = step["container"]["resources"]["limits"]
            assert bytes_of(limits["memory"]) <= bytes_of(hard["limits.memory"])
            assert int(limits.get("nvidia.com/gpu", 0)) <= int(hard["requests.nvidia.com/gpu"])


def test_gpu_images_are_digests() -> None:
    images = [c["image"] for pod in pods("gpu") for c in pod["containers"]]
    items = overlay("gpu")
    images += [
        p["value"]
        for p in items["WorkflowTemplate", "pebr-r1"]["spec"]["arguments"]["parameters"]
        if p["name"] == "image"
    ]
    images += [item["data"]["IMAGE"] for item in of_kind("gpu", "ConfigMap") if "IMAGE" in item["data"]]
    assert len(images) == 3
    assert len(set(images)) == 1
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", images[0])


def test_applying_the_gpu_overlay_starts_nothing() -> None:
    """It holds no Job: the next apply could not change the pod of a Job."""
    assert not of_kind("gpu", "Job")


def test_the_cache_is_the_volume_that_a_cluster_file_may_name() -> None:
    (claim,) = yaml.safe_load_all((K8S / "components" / "cache" / "cache.yaml").read_text())
    kubernetes_validate.validate(claim, "1.32", strict=True)
    assert f"cache_claim: {claim['metadata']['name']}" in (ROOT / "pipelines" / "clusters" / "gpu.yaml").read_text()


def test_prometheus_may_reach_the_port_that_pods_open_and_their_annotations_name() -> None:
    watching = {(item["kind"], item["metadata"]["name"]): item for item in built("k8s/monitoring")}
    (rule,) = watching["NetworkPolicy", "pebr-monitoring"]["spec"]["ingress"]
    ports = {str(port["port"]) for port in rule["ports"]}
    selector = watching["PodMonitor", "pebr-steps"]["spec"]["selector"]["matchLabels"]
    (template,) = of_kind("gpu", "WorkflowTemplate")
    pods = [step["metadata"] for step in template["spec"]["templates"][1:]]
    pods += [overlay("kind-cpu")["Job", "pebr-run"]["spec"]["template"]["metadata"]]
    assert len(pods) > 20
    for pod in pods:
        assert selector.items() <= pod["labels"].items()
        assert {pod["annotations"]["prometheus.io/port"]} == ports
        assert pod["annotations"]["prometheus.io/scrape"] == "true"


def test_the_dashboards_are_config_maps_that_grafana_finds() -> None:
    dashboards = [item for item in built("k8s/monitoring") if item["metadata"]["name"] == "pebr-dashboards"]
    assert [d["metadata"]["labels"]["grafana_dashboard"] for d in dashboards] == ["1"]
    assert len(dashboards[0]["data"]) == len(list((K8S / "monitoring" / "dashboards").glob("*.json")))


def test_a_token_for_kubeflow_lies_where_submitting_looks_for_it() -> None:
    from pipelines.targets.kubeflow import TOKEN_FILE

    pod = overlay("gpu")["CronJob", "pebr-retrain"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "kubeflow-token"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "kubeflow-token"]
    assert f"{mount['mountPath']}/{volume['projected']['sources'][0]['serviceAccountToken']['path']}" == TOKEN_FILE


def test_the_jobs_command_lines_are_ones_that_the_programs_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The programs parse them, up to the point where they would reach a cluster or start a step."""
    from pipelines import run, submit

    job = overlay("gpu")["CronJob", "pebr-retrain"]["spec"]["jobTemplate"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (settings,) = [item["data"] for item in of_kind("gpu", "ConfigMap") if "IMAGE" in item["data"]]
    known = settings | {"OCCASION": "pebr-retrain-29012345", "IMAGE": "registry/pebr@sha256:" + "12" * 32}
    known["PUBLISHED"] = str(tmp_path)  # it is read before the run starts
    words = [re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], word) for word in container["args"]]
    words = [word.replace("/opt/pebr/app", str(ROOT)) for word in words]

    class Reached(BaseException):  # not an Exception: those are caught
        pass

    def reach(self: Any, name: str, parameters: dict[str, Any]) -> str:
        assert name.startswith("pebr-r1-7b-")
        assert parameters["sft_source"] == "s3://pebr/data/mulberry"
        raise Reached

    monkeypatch.setattr("pipelines.targets.kubeflow.Kubeflow.submit", reach)
    with pytest.raises(Reached):
        submit.main(words)

    def start(options: Any) -> int:
        raise Reached

    (container,) = overlay("kind-cpu")["Job", "pebr-run"]["spec"]["template"]["spec"]["containers"]
    monkeypatch.setattr(run, "start", start)
    with pytest.raises(Reached):
        run.main(container["args"])


def test_the_namespace_enforces_the_standard_that_its_pods_fit() -> None:
    (namespace,) = of_kind("gpu", "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_job_ends(name: str) -> None:
    """A Job whose image cannot be pulled would wait for ever, and a CronJob that forbids a second one with it."""
    jobs = of_kind(name, "Job") + [cron["spec"]["jobTemplate"] for cron in of_kind(name, "CronJob")]
    assert jobs
    for job in jobs:
        assert 3600 < job["spec"]["activeDeadlineSeconds"] <= 7 * 24 * 3600


def test_the_run_in_one_pod_fits_two_cores_beside_the_store_and_kubernetes() -> None:
    def cores(quantity: str) -> float:
        return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)

    requests = sum(cores(c["resources"]["requests"]["cpu"]) for pod in pods("kind-cpu") for c in pod["containers"])
    assert requests + 0.95 <= 2  # the pods of a kind node's control plane request 0.95


def test_the_run_in_one_pod_waits_for_the_store_and_says_so() -> None:
    """The container's own program, against a port where a server appears."""
    (container,) = overlay("kind-cpu")["Job", "pebr-run"]["spec"]["template"]["spec"]["initContainers"]
    kubernetes_validate.validate(overlay("kind-cpu")["Job", "pebr-run"], "1.32", strict=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (script,) = container["args"]
    script = script.replace('("seaweedfs", 8333)', f'("127.0.0.1", {port})').replace("sleep(3)", "sleep(0.05)")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert "waiting for the S3 server, seaweedfs:8333" in process.stdout.readline()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        assert process.wait(20) == 0
    process.stdout.close()


def test_the_weekly_loop_is_a_command_line_that_submit_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of the CronJob, with a batch that is new; up to the point where it would reach Kubeflow."""
    from pipelines import submit

    (settings,) = [item["data"] for item in built("k8s/jobs/weekly") if item["kind"] == "ConfigMap"]
    (cron,) = [item for item in built("k8s/jobs/weekly") if item["kind"] == "CronJob"]
    assert cron["metadata"]["name"] == "pebr-weekly"
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (tmp_path / "sft" / "2026-11-30").mkdir(parents=True)
    (tmp_path / "sft" / "2026-11-30" / "rows.json").write_text("[]")
    known = settings | {"OCCASION": "pebr-weekly-29012345", "PUBLISHED": str(tmp_path / "published")}
    known |= {"SFT_BATCHES": str(tmp_path / "sft"), "RL_BATCHES": str(tmp_path / "sft")}
    words = [re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], word) for word in container["args"]]
    words = [word.replace("/opt/pebr/app", str(ROOT)) for word in words]

    class Reached(BaseException):  # not an Exception: those are caught
        pass

    def reach(self: Any, name: str, parameters: dict[str, Any]) -> str:
        assert parameters["sft_source"] == parameters["rl_source"] == f"{tmp_path}/sft/2026-11-30"
        assert parameters["model_source"] == "toy://model"  # nothing was published yet
        raise Reached

    monkeypatch.setattr("pipelines.targets.kubeflow.Kubeflow.submit", reach)
    with pytest.raises(Reached):
        submit.main(words)
    assert (tmp_path / "published" / "weeks" / "pebr-weekly-29012345.json").is_file()
