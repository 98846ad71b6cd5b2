"""Pushing to a real registry server, and reading back what it holds."""

import base64
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from pebr.errors import InputError
from pipelines.publishing import layers
from pipelines.publishing.oci import PASSWORD, USER, Repository
from pipelines.publishing.publish import Places, publish
from pipelines.publishing.record import Record
from pipelines.targets import TargetError
from tests.pipelines.publishing.fetch_registry import REGISTRY
from tests.pipelines.publishing.test_publish import FACTS

# The line of htpasswd for team and its password "secret" (bcrypt, the only kind that the server reads).
HTPASSWD = "team:$2b$04$aB05e025RiG0uN38pfi26uYwvgQUOkLsNxgj.t.okYgymhtLXtGFi\n"


@contextmanager
def registry(folder: Path, auth: dict[str, Any] | None = None) -> Iterator[str]:
    """A registry server; yields host:port."""
    program = str(REGISTRY) if REGISTRY.exists() else shutil.which("docker-registry")
    if not program:
        pytest.skip("needs a registry: python tests/pipelines/publishing/fetch_registry.py")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "registry")}}
    settings = {"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": {"addr": host}}
    (folder / "config.yml").write_text(yaml.safe_dump(settings | ({"auth": auth} if auth else {})))
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://{host}/v2/")
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "registry.log").read_text()
                time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of large and small files; large is from 100 kB here."""
    monkeypatch.setattr(layers, "LARGE", 100_000)
    monkeypatch.setattr("pipelines.publishing.persistence.FIRST_WAIT", 0.001)
    folder = tmp_path / "model"
    (folder / "more").mkdir(parents=True)
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(os.urandom(300_001 + number))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# A model")
    (folder / "more" / "prompt.txt").write_text("Look: {question}")
    return folder


def read_back(host: str, name: str, reference: str, headers: Mapping[str, str] = {}) -> tuple[dict, dict[str, bytes]]:
    """The manifest under a tag or digest, and the files of all layers; every digest is checked."""
    at = f"http://{host}/v2/{name}"
    given = httpx.get(f"{at}/manifests/{reference}", headers={"Accept": layers.MANIFEST, **headers}).raise_for_status()
    digest = "sha256:" + hashlib.sha256(given.content).hexdigest()
    assert given.headers["Docker-Content-Digest"] == digest
    manifest, files = given.json(), {}

    def blob(described: dict[str, Any]) -> bytes:
        data = httpx.get(f"{at}/blobs/{described['digest']}", headers=headers).raise_for_status().content
        assert described["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        assert described["size"] == len(data)
        return data

    config = json.loads(blob(manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(layer))) as tar:
            for entry in tar:
                if entry.isfile():
                    data = tar.extractfile(entry).read()
                    name_in = entry.name.removeprefix("models/")
                    assert layer["annotations"][f"pebr.sha256/{name_in}"] == hashlib.sha256(data).hexdigest()
                    assert name_in not in files
                    files[name_in] = data
    return manifest | {"digest": digest}, files


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_registry_gives_back_the_files_that_were_pushed(model: Path, tmp_path: Path) -> None:
    with registry(tmp_path) as host:
        reference = Repository(f"oci://{host}/team/model").push(
            model, "run-1", {"org.opencontainers.image.title": "run-1"}
        )
        manifest, files = read_back(host, "team/model", "run-1")
        assert files == files_of(model)
        assert reference == f"{host}/team/model@{manifest['digest']}"
        assert manifest["annotations"] == {"org.opencontainers.image.title": "run-1"}
        titles = [layer["annotations"].get("org.opencontainers.image.title") for layer in manifest["layers"]]
        assert titles == ["model-1.safetensors", "model-2.safetensors", None]
        # A second push of the same files is the same image, and sends no blob.
        again = Repository(f"oci://{host}/team/model:other")
        posted = []
        again.client.event_hooks = {"request": [lambda request: posted.append(request.method)]}
        assert again.push(model, "run-1", {"org.opencontainers.image.title": "run-1"}) == reference
        assert posted.count("POST") == 0
        assert read_back(host, "team/model", "other")[0]["digest"] == manifest["digest"]


def test_the_record_of_a_version_names_its_image_by_digest(model: Path, tmp_path: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ messages }}")
    record = Record("run-1", str(model), {"accuracy": 0.5}, {"commit": "4cb250a"})
    facts = replace(FACTS, run="run-1", model=str(model))
    with registry(tmp_path) as host:
        publish(facts, Places(str(tmp_path / "published"), f"oci://{host}/team/model"), record, None)
        latest = json.loads((tmp_path / "published" / "latest.json").read_text())
        name, _, digest = latest["pushed"].partition("@")
        assert name == f"{host}/team/model"
        manifest, files = read_back(host, "team/model", digest)
        assert files["README.md"].decode() == (model / "README.md").read_text()  # the card
        assert "serving_template.jinja" in files
        assert manifest["annotations"]["org.opencontainers.image.revision"] == "4cb250a"


def test_a_push_that_was_cut_off_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry(tmp_path) as host:
        repository, whole = Repository(f"oci://{host}/team/model"), Repository._send
        sent = []

        def fail_at_second(self: Repository, blob: layers.Blob) -> None:
            if len(sent) == 1:
                raise KeyboardInterrupt
            sent.append(blob.digest)
            whole(self, blob)

        monkeypatch.setattr(Repository, "_send", fail_at_second)
        with pytest.raises(KeyboardInterrupt):
            repository.push(model, "run-1", {})
        assert httpx.get(f"http://{host}/v2/team/model/manifests/run-1").status_code == 404
        monkeypatch.setattr(Repository, "_send", whole)
        repository.push(model, "run-1", {})
        assert read_back(host, "team/model", "run-1")[1] == files_of(model)


def test_a_password_is_given_where_it_is_asked_for(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "here", "path": str(tmp_path / "htpasswd")}}
    monkeypatch.delenv(USER, raising=False)
    with registry(tmp_path, auth) as host:
        with pytest.raises(TargetError, match=f"401.*set {USER} and {PASSWORD}"):
            Repository(f"oci://{host}/team/model").push(model, "run-1", {})
        monkeypatch.setenv(USER, "team")
        monkeypatch.setenv(PASSWORD, "secret")
        Repository(f"oci://{host}/team/model").push(model, "run-1", {})
        key = base64.b64encode(b"team:secret").decode()
        assert read_back(host, "team/model", "run-1", {"Authorization": f"Basic {key}"})[1] == files_of(model)


@pytest.fixture
def token_server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """A server of tokens that the registry trusts; yields its address, and what it was asked."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
                    "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)  # fmt: skip
    body = "".join(line for line in certificate.read_text().splitlines() if "CERTIFICATE" not in line)
    asked: list[str] = []

    def coded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    class Tokens(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            asked.append(query["scope"])
            known = self.headers.get("authorization") == "Basic " + base64.b64encode(b"team:secret").decode()
            kind, name, actions = query["scope"].split(":")
            claims = {"iss": "tokens", "aud": query["service"], "sub": "team", "jti": "1", "iat": int(time.time()),
                      "nbf": int(time.time()) - 5, "exp": int(time.time()) + 60,
                      "access": [{"type": kind, "name": name, "actions": actions.split(",")}]}  # fmt: skip
            parts = [{"typ": "JWT", "alg": "RS256", "x5c": [body]}, claims]
            signed = ".".join(coded(json.dumps(part).encode()) for part in parts)
            command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
            signature = subprocess.run(command, input=signed.encode(), capture_output=True, check=True).stdout
            data = json.dumps({"token": f"{signed}.{coded(signature)}"} if known else {}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Tokens) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/token", lambda: asked
        http.shutdown()


def test_a_token_is_fetched_from_the_realm_that_the_registry_names(
    model: Path, tmp_path: Path, token_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm, asked = token_server
    bundle = str(tmp_path / "certificate.pem")
    auth = {"token": {"realm": realm, "service": "registry", "issuer": "tokens", "rootcertbundle": bundle}}
    monkeypatch.setenv(USER, "team")
    monkeypatch.setenv(PASSWORD, "secret")
    with registry(tmp_path, auth) as host:
        Repository(f"oci://{host}/team/model").push(model, "run-1", {})
        assert set(asked()) == {"repository:team/model:pull,push"}
        monkeypatch.setenv(PASSWORD, "wrong")
        with pytest.raises(TargetError, match=f"401.*set {USER}"):
            Repository(f"oci://{host}/team/model").push(model, "run-2", {})


def test_no_registry_is_told_in_one_line(model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TargetError, match=f"--push oci://{host}/a/b: blob sha256:.*refused") as error:
        Repository(f"oci://{host}/a/b").push(model, "run-1", {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["oci://host", "oci://host/Upper", "oci://host/a@sha256:1", "oci://host/a:", "oci:///a"]
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="write it as oci://registry"):
        Repository(address)


def test_a_layer_is_a_tar_of_any_size_and_always_the_same(tmp_path: Path) -> None:
    sizes = [0, 1, 511, 512, 513, 2**20 + 1]
    for size in sizes:
        (tmp_path / f"{size:07d}").write_bytes(b"x" * size)
    files = sorted((path.name, path) for path in tmp_path.iterdir())
    data = b"".join(layers.tar_of(files))
    assert data == b"".join(layers.tar_of(files))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(entry.name, entry.size, entry.mtime, entry.uid) for entry in tar if entry.isfile()] == [
            (f"models/{size:07d}", size, 0, 0) for size in sizes
        ]
