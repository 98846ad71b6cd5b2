"""A small interpreter, after Argo's documentation, of the manifests that `pipelines.forms.argo` writes.

Each task's command runs as a process, with `/tmp` put below a folder of its own as the pod's volume would be; artifacts
are copied through another folder, the artifact repository. So a manifest can be held against the runner.

It behaves as Argo 4.0 was seen to on Kubernetes 1.36: a pod is named by its workflow and node, an artifact's key comes
from `keyFormat`, a folder is stored file by file, over what lies there; a namespace with the standard `restricted`
refuses a pod if one of its containers, Argo's own too, may do more; the status of a failed workflow has no message, the
nodes of the attempts have.
"""

import os
import re
import shutil
import subprocess
import sys
import uuid
import zlib
from pathlib import Path
from typing import Any

import yaml

TAG = re.compile(r"\{\{(?!=)(.+?)\}\}")


ROOT = Path(__file__).parents[3]
WORKFLOW = "a-workflow"
_STORE = {item["metadata"]["name"]: item for item in yaml.safe_load_all((ROOT / "k8s/base/store.yaml").read_text())}
KEY_FORMAT = yaml.safe_load(_STORE["artifact-repositories"]["data"]["pebr"])["s3"]["keyFormat"]


def pod_of(spec: dict[str, Any], template: dict[str, Any]) -> dict[str, Any]:
    """The pod of a step: its container, Argo's own without a security context, and `podSpecPatch` over them."""
    pod = {
        "securityContext": spec.get("securityContext", {}),
        "initContainers": [{"name": "init"}],
        "containers": [{"name": "wait"}, {"name": "main", **template["container"]}],
    }
    patch = yaml.safe_load(spec.get("podSpecPatch") or "{}")
    for kind in ("initContainers", "containers"):
        changes = {container["name"]: container for container in patch.pop(kind, ())}
        assert changes.keys() <= {container["name"] for container in pod[kind]}, "a container of the patch is not there"
        pod[kind] = [container | changes.get(container["name"], {}) for container in pod[kind]]
    return pod | patch


def restricted_faults(pod: dict[str, Any]) -> list[str]:
    """What the pod security standard `restricted` refuses in a pod, by container."""
    found = []
    for container in pod["initContainers"] + pod["containers"]:
        context = {**pod["securityContext"], **container.get("securityContext", {})}
        wrong = {
            "allowPrivilegeEscalation != false": context.get("allowPrivilegeEscalation") is not False,
            "unrestricted capabilities": context.get("capabilities", {}).get("drop") != ["ALL"],
            "runAsNonRoot != true": context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
        }
        found += [f"{container['name']}: {name}" for name, bad in wrong.items() if bad]
    return found


class Namespace(dict):
    """A mapping whose keys are attributes too, as in Argo's expressions."""

    __getattr__ = dict.__getitem__


def evaluate(expression: str, scope: dict[str, Any]) -> Any:
    """The value of an expression: comparisons, `&&`, `||`, `!`, `a ? b : c`, asInt, asFloat."""
    if " ? " in expression:
        test, rest = expression.split(" ? ", 1)
        first, second = rest.split(" : ", 1)
        return evaluate(first if evaluate(test, scope) else second, scope)
    text = re.sub(r"!(?!=)", " not ", expression.replace("&&", " and ").replace("||", " or "))
    names = {"true": True, "false": False, "asInt": int, "asFloat": float, "int": int, **scope}
    return eval(text.strip(), {"__builtins__": {}}, names)


class Engine:
    """One run of a workflow.

    `status` has each task's end: Succeeded, Failed, Skipped, Omitted; `attempts` how often it ran.
    """

    def __init__(
        self, document: dict[str, Any], folder: Path, parameters: dict[str, str], uid: str = "", key: str = KEY_FORMAT
    ) -> None:
        spec = self.spec = document["spec"]
        self.uid, self.key = uid or str(uuid.uuid4()), key
        self.nodes: list[dict[str, Any]] = []
        given = {p["name"]: p["value"] for p in spec["arguments"]["parameters"] if "value" in p}
        self.folder, self.scope = folder, {"workflow": Namespace(parameters=Namespace(given | parameters)), "tasks": {}}
        self.templates = {template["name"]: template for template in spec["templates"]}
        self.tasks = {task["name"]: task for task in self.templates[spec["entrypoint"]]["dag"]["tasks"]}
        self.status: dict[str, str] = {}
        self.attempts: dict[str, int] = {}

    def run(self) -> None:
        """Run all tasks, each after those that it needs."""
        waiting = list(self.tasks)
        while waiting:
            name = next(n for n in waiting if all(d in self.status for d in self.tasks[n].get("dependencies", ())))
            waiting.remove(name)
            self.status[name] = self._run(self.tasks[name])
            self.scope["tasks"].setdefault(name, Namespace(outputs={}))["status"] = self.status[name]

    def artifact(self, task: str, name: str) -> Path:
        return self.folder / "repository" / self._key(task, self.attempts[task] - 1) / name

    def _key(self, task: str, attempt: int) -> str:
        pod = f"{WORKFLOW}-{task}-{zlib.crc32(f'{task}({attempt})'.encode())}"  # by name, not by chance
        values = {"workflow.name": WORKFLOW, "workflow.uid": self.uid, "pod.name": pod}
        return TAG.sub(lambda found: values[found[1]], self.key)

    def result(self) -> dict[str, Any]:
        """The status of the workflow."""
        failed = "Failed" in self.status.values()
        return {"phase": "Failed" if failed else "Succeeded", "nodes": {node["id"]: node for node in self.nodes}}

    def _substituted(self, text: str, inputs: dict[str, str]) -> str:
        """A text with every tag replaced; an unknown one is an error."""

        def value(found: re.Match[str]) -> str:
            path = found[1].split(".")
            match path:
                case ["inputs", "parameters", name]:
                    return inputs[name]
                case ["workflow", "parameters", name]:
                    return self.scope["workflow"].parameters[name]
                case ["tasks", task, "outputs", "parameters", name]:
                    return self.scope["tasks"][task].outputs["parameters"][name]
                case ["workflow", "name"] | ["pod", "name"]:
                    return WORKFLOW
            raise KeyError(found[0])

        text = re.sub(r"\{\{=(.*?)\}\}", lambda found: str(evaluate(found[1], self.scope)), text)
        return TAG.sub(value, text)

    def _run(self, task: dict[str, Any]) -> str:
        if any(self.status[need] not in ("Succeeded", "Skipped") for need in task.get("dependencies", ())):
            return "Omitted"
        if "when" in task and self._substituted(task["when"], {}) != "True":
            return "Skipped"
        template, arguments = self.templates[task["template"]], task.get("arguments", {})
        inputs = {p["name"]: self._substituted(p["value"], {}) for p in arguments.get("parameters", ())}
        sources = {a["name"]: self._source(a) for a in arguments.get("artifacts", ())}
        retry = template.get("retryStrategy", {"limit": "0"})
        for attempt in range(int(retry["limit"]) + 1):
            self.attempts[task["name"]] = attempt + 1
            pod = self.folder / "pods" / f"{task['name']}-{attempt}"
            if faults := restricted_faults(pod_of(self.spec, template)):
                self._node(
                    task["name"], attempt, "Pending", f'pods is forbidden: violates PodSecurity "restricted": {faults}'
                )
                return "Pending"
            code = self._attempt(template, inputs, sources, pod)
            message = f"main: Error (exit code {code})" if code else ""
            self._node(task["name"], attempt, "Failed" if code else "Succeeded", message)
            if code == 0:
                self._collect(task["name"], template, pod)
                return "Succeeded"
            last = Namespace(exitCode=str(code))
            if not evaluate(retry.get("expression", "true"), {"lastRetry": last}):
                break
        return "Failed"

    def _node(self, task: str, attempt: int, phase: str, message: str) -> None:
        node = {"id": f"{task}-{attempt}", "displayName": f"{task}({attempt})", "type": "Pod", "phase": phase}
        self.nodes.append(node | {"message": message, "startedAt": "2026-11-27T10:00:00Z"})

    def _source(self, argument: dict[str, str]) -> Path:
        if "from" in argument:
            _, task, _, _, name = TAG.fullmatch(argument["from"])[1].split(".")
            return self.artifact(task, name)
        return evaluate(argument["fromExpression"], self.scope)

    def _attempt(self, template: dict[str, Any], inputs: dict[str, str], sources: dict[str, Path], pod: Path) -> int:
        pod.mkdir(parents=True)
        for artifact in template.get("inputs", {}).get("artifacts", ()):
            target = pod / artifact["path"].removeprefix("/tmp/")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if sources[artifact["name"]].is_dir() else shutil.copyfile
            copy(sources[artifact["name"]], target)
        container = template["container"]
        words = [self._substituted(word, inputs) for word in (*container["command"], *container.get("args", ()))]
        words = [word.replace("/tmp/", f"{pod}/") for word in words]
        (pod / "outputs").mkdir()  # the components of these tests, unlike pebr's, do not make it
        environment = {**os.environ, **{e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}}
        command = [sys.executable if words[0] == "python" else words[0], *words[1:]]
        return subprocess.run(command, env=environment, check=False).returncode

    def _collect(self, task: str, template: dict[str, Any], pod: Path) -> None:
        outputs = template.get("outputs", {})
        scope = self.scope["tasks"].setdefault(task, Namespace(outputs=Namespace(parameters={}, artifacts={})))
        for artifact in outputs.get("artifacts", ()):
            made, kept = pod / artifact["path"].removeprefix("/tmp/"), self.artifact(task, artifact["name"])
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(made, kept, dirs_exist_ok=True) if made.is_dir() else shutil.copyfile(made, kept)
            scope.outputs["artifacts"][artifact["name"]] = kept
        for parameter in outputs.get("parameters", ()):
            path = pod / parameter["valueFrom"]["path"].removeprefix("/tmp/")
            scope.outputs["parameters"][parameter["name"]] = path.read_text()
