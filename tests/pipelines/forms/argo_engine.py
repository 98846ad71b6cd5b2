"""A small interpreter, after Argo's documentation, of the manifests that `pipelines.forms.argo` writes.

Each task's command runs as a process, with `/tmp` put below a folder of its own as the pod's volume would be; artifacts
are copied through another folder, the artifact repository. So a manifest can be held against the runner.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

TAG = re.compile(r"\{\{(?!=)(.+?)\}\}")


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

    def __init__(self, document: dict[str, Any], folder: Path, parameters: dict[str, str]) -> None:
        spec = document["spec"]
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
        return self.folder / "repository" / task / name

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
                    return "a-workflow"
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
            code = self._attempt(template, inputs, sources, pod)
            if code == 0:
                self._collect(task["name"], template, pod)
                return "Succeeded"
            last = Namespace(exitCode=str(code))
            if not evaluate(retry.get("expression", "true"), {"lastRetry": last}):
                break
        return "Failed"

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
            (shutil.copytree if made.is_dir() else shutil.copyfile)(made, kept)
            scope.outputs["artifacts"][artifact["name"]] = kept
        for parameter in outputs.get("parameters", ()):
            path = pod / parameter["valueFrom"]["path"].removeprefix("/tmp/")
            scope.outputs["parameters"][parameter["name"]] = path.read_text()
