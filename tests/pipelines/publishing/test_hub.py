"""Pushing a model with the hub's own client, to a server that speaks its part of the hub's API."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pebr.errors import InputError
from pipelines.publishing.hub import push, repository
from pipelines.targets import TargetError


class Hub(BaseHTTPRequestHandler):
    """Creates repositories and takes commits of small files, which travel inside the commit."""

    protocol_version = "HTTP/1.1"
    made: dict[str, bool]  # repository -> whether it is private
    commits: list[tuple[str, str, dict[str, bytes]]]  # address, message, files

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("authorization") != "Bearer secret":
            return self.reply({"error": "Invalid credentials"}, 401)
        match self.path.split("?")[0].split("/"):
            case ["", "api", "repos", "create"]:
                asked = json.loads(body)
                self.made[f"{asked['organization']}/{asked['name']}"] = asked["visibility"] == "private"
                return self.reply({"url": "https://huggingface.co/team/model", "name": "team/model"})
            case ["", "api", "validate-yaml"]:
                return self.reply({"warnings": [], "errors": []})
            case [*_, "preupload", _]:
                asked = {"uploadMode": "regular", "shouldIgnore": False}
                return self.reply({"files": [asked | {"path": f["path"]} for f in json.loads(body)["files"]]})
            case [*_, "commit", _]:
                lines = [json.loads(line) for line in body.splitlines()]
                added = [line["value"] for line in lines if line["key"] == "file"]
                files = {file["path"]: base64.b64decode(file["content"]) for file in added}
                self.commits.append((self.path, lines[0]["value"]["summary"], files))
                return self.reply(
                    {"commitUrl": "https://huggingface.co/team/model/commit/1", "commitOid": "1", "success": True}
                )
            case [*_, "branch", _]:
                return self.reply({})
        return self.reply({"error": self.path}, 404)

    def do_GET(self) -> None:
        self.reply({"id": "team/model", "siblings": [], "sha": "0"})

    def reply(self, body: object, status: int = 200) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Own(Hub):
        made: dict[str, bool] = {}
        commits: list[tuple[str, str, dict[str, bytes]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        yield Own
        http.shutdown()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "output"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("the base model's card")
    return folder


@pytest.mark.parametrize("branch", ["", "@next"])
def test_a_push_is_one_commit_of_all_files(hub: type[Hub], model: Path, branch: str) -> None:
    url = push(str(model), f"hf://team/model{branch}", {"README.md": "---\nlicense: mit\n---\nours"}, "run-1")
    assert url == "https://huggingface.co/team/model/commit/1"
    assert hub.made == {"team/model": True}
    ((address, message, files),) = hub.commits
    assert address.split("?")[0].endswith("/commit/next" if branch else "/commit/main")
    assert message == "run-1"
    assert files == {"model.safetensors": b"weights", "README.md": b"---\nlicense: mit\n---\nours"}
    assert (model / "README.md").read_text() == "the base model's card"


def test_a_refusal_names_the_remedy(hub: type[Hub], model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(TargetError, match="HF_TOKEN may write"):
        push(str(model), "hf://team/model", {}, "run-1")


@pytest.mark.parametrize("address", ["team/model", "hf://model", "hf://datasets/team/model", "hf://team/model@"])
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="hf://organisation/name"):
        repository(address)
