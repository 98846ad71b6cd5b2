"""The manifests of a server of the published model: valid, alike, least rights; a real server of their arguments."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from PIL import Image

from pebr.evaluate.settings import Settings as EvaluateSettings
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from pebr.vlm.serving import SERVING_FILE, own_chat_template, serving_template
from pipelines.ir.reader import Pipeline
from tests.k8s.schemas import errors
from tests.k8s.test_manifests import built

ROOT = Path(__file__).parents[2]
KINDS = ("deployment", "kserve")


def items(kind: str) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in built(f"k8s/serving/{kind}")}


def pod(kind: str) -> dict[str, Any]:
    found = items(kind)
    if kind == "deployment":
        return found["Deployment"]["spec"]["template"]["spec"]
    of_kserve = ("minReplicas", "maxReplicas", "deploymentStrategy")
    return {k: v for k, v in found["InferenceService"]["spec"]["predictor"].items() if k not in of_kserve}


def arguments(kind: str, model: str, port: int) -> list[str]:
    """The server's arguments, with a model in another place and another port."""
    (container,) = pod(kind)["containers"]
    place = {"deployment": "/models/published", "kserve": "/mnt/models"}[kind]
    given = [a.replace(place, model) for a in container["args"] if not a.startswith("--port=")]
    return [*container["command"], *given, f"--port={port}"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_resource_is_valid(kind: str) -> None:
    for item in built(f"k8s/serving/{kind}"):
        if item["kind"] == "InferenceService":
            assert errors(item) == []
        else:
            kubernetes_validate.validate(item, "1.32", strict=True)
    own = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod(kind)}
    kubernetes_validate.validate(own, "1.32", strict=True)


def test_the_validation_of_an_inference_service_is_strict() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(items("kserve")["InferenceService"]))
    wrong["spec"]["predictor"]["minReplica"] = 1
    wrong["spec"]["predictor"]["containers"][0]["arg"] = []
    wrong["spec"]["predictor"]["maxReplicas"] = "1"
    assert len(errors(wrong)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_pods_run_without_privileges(kind: str) -> None:
    assert pod(kind)["securityContext"]["runAsNonRoot"] is True
    for container in [*pod(kind)["containers"], *pod(kind).get("initContainers", [])]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert "@sha256:" in container["image"]


def test_both_servers_have_the_limits_of_training() -> None:
    one, other = (arguments(kind, "/model", 8000) for kind in KINDS)
    assert one == other
    options = dict(argument.removeprefix("--").split("=", 1) for argument in one[3:])
    defaults = {
        name: spec["defaultValue"]
        for name, spec in Pipeline(ROOT / "pipelines/compiled/gpu/pebr_r1.yaml").inputs.items()
        if "defaultValue" in spec
    }
    size = json.loads(options["mm-processor-kwargs"])["size"]
    assert size == {"shortest_edge": defaults["min_pixels"], "longest_edge": defaults["max_pixels"]}
    longest = EvaluateSettings.max_prompt_tokens + defaults["max_response_tokens"]
    assert int(options["max-model-len"]) == longest
    assert json.loads(options["override-generation-config"])["temperature"] == EvaluateSettings.temperature


SIDE = """
import pebr.vlm.torchvision_operators  # a torchvision that does not match this CPU build of torch
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    """A real vLLM server with the arguments of the manifests, and its model, whose own limits are others."""
    folder = tmp_path_factory.mktemp("server")
    model = folder / "model"
    model.mkdir()
    for path in tiny_models["qwen2_5_vl"].iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    processor = load_processor(model, 4 * 784, 2**24)
    processor.save_pretrained(model)
    (model / "prompt.txt").write_text("Answer truly.\n{question}\nThink first.")
    (model / SERVING_FILE).write_text(
        serving_template(own_chat_template(model), (model / "prompt.txt").read_text()), encoding="utf-8"
    )
    (folder / "sitecustomize.py").write_text(SIDE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = arguments("deployment", str(model), port)[1:]
    command += ["--host=127.0.0.1", "--max-model-len=2048", "--dtype=float32", "--enforce-eager"]
    small = {"OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    known = os.environ | small | {"PYTHONPATH": f"{folder}:{ROOT / 'components'}", "VLLM_NO_USAGE_STATS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *command], env=known, stdout=log, stderr=log, cwd=folder)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 400
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline
            try:
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.3)
        yield address, model
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_server_asks_the_tokens_that_training_asked(server: tuple[str, Path]) -> None:
    """A small and a large image: the server's own processor would show the large one with 8 times the tokens."""
    address, model = server
    encoder = Encoder(load_processor(model, 576, 802816))
    assert encoder.template == "Answer truly.\n{question}\nThink first."
    for size in ((60, 40), (1500, 900)):
        image = Image.effect_noise(size, 50).convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it? "}]
        body = {"model": "pebr", "messages": [{"role": "user", "content": parts}], "max_tokens": 1}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body | {"return_token_ids": True}, timeout=120)
        assert reply.json()["prompt_token_ids"] == encoder.prompt("<image>What is it?", [image]).token_ids
