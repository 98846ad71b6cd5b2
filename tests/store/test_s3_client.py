"""Settings, credentials and failures of the connection: a wrong one is reported at once and in one line."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import urllib3

from pebr.errors import InputError
from pebr.store.connection import pool_manager
from pebr.store.contract import StoreError
from pebr.store.s3 import S3Store
from pebr.store.s3_client import Interrupted, connect, persist
from tests.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, environment, s3_server

LOCAL = {"PEBR_S3_ENDPOINT": "http://127.0.0.1:1", "AWS_REGION": "us-east-1"}
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": "very-secret"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (KEYS | {"PEBR_S3_ENDPOINT": "minio:9000"}, "PEBR_S3_ENDPOINT"),
        (KEYS | {"PEBR_S3_ENDPOINT": "http://minio:9000/bucket"}, "PEBR_S3_ENDPOINT"),
        (KEYS | LOCAL | {"PEBR_S3_PATH_STYLE": "yes"}, "PEBR_S3_PATH_STYLE"),
        (LOCAL | {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not set"),
        (LOCAL | {"AWS_SECRET_ACCESS_KEY": "a"}, "AWS_ACCESS_KEY_ID is not set"),
        (LOCAL | {"AWS_SHARED_CREDENTIALS_FILE": "/no/such/file"}, "no S3 credentials: .*/no/such/file"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        connect(settings)
    assert "\n" not in str(error.value)


def credentials_file(path: Path, secret: str) -> dict[str, str]:
    path.write_text(f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {secret}\n")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(path), "AWS_REGION": "us-east-1"}


@pytest.mark.s3
def test_credentials_may_come_from_a_mounted_file_that_changes(s3_address: str, tmp_path: Path) -> None:
    settings = credentials_file(tmp_path / "keys", "old") | {"PEBR_S3_ENDPOINT": s3_address}
    store = S3Store(BUCKET, tmp_path.name, settings)
    with pytest.raises(InputError, match="AWS_SECRET_ACCESS_KEY"):
        store.list("")
    credentials_file(tmp_path / "keys", SECRET_KEY)
    assert store.list("") == []


@pytest.mark.s3
@pytest.mark.parametrize(
    ("change", "bucket", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, BUCKET, "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, BUCKET, "AWS_ACCESS_KEY_ID|credentials may not"),
        ({}, "nowhere", "bucket is not there"),
    ],
)
def test_what_stays_wrong_is_not_tried_again(s3_address: str, change: dict[str, str], bucket: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        S3Store(bucket, "x", environment(s3_address) | change).list("")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server with https only, and its self-signed certificate."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    with s3_server(folder / "server", (folder / "cert.pem", folder / "key.pem")) as address:
        yield address, folder / "cert.pem"


@pytest.mark.s3
def test_https_needs_an_authority_that_is_trusted(
    tls: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, certificate = tls
    assert address.startswith("https://")
    with pytest.raises(InputError, match="SSL_CERT_FILE"):
        S3Store(BUCKET, "x", environment(address)).list("")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert ssl.get_default_verify_paths().cafile == str(certificate)
    (tmp_path / "file").write_text("secret")
    store = S3Store(BUCKET, "x", environment(address))
    store.put(tmp_path / "file", "key")
    store.get("key", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "secret"


def test_no_secret_is_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebr.store.s3_client.TRIES", 1)
    with pytest.raises(StoreError, match="is the server up") as error:
        S3Store(BUCKET, "x", LOCAL | KEYS).list("")
    assert "very-secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_waits_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)

    def fail() -> None:
        raise urllib3.exceptions.ProtocolError("cut")

    with pytest.raises(StoreError, match="failed 8 times, last: cut"):
        persist(fail, "get it")
    assert len(waits) == 7
    longest = [min(10.0, 0.1 * 2**k) for k in range(1, 8)]
    shares = [wait / most for wait, most in zip(waits, longest, strict=True)]
    assert all(0.5 <= share <= 1 for share in shares)
    assert len(set(shares)) == 7


class Answering(BaseHTTPRequestHandler):
    """Answers each GET with the next status and S3 error code, and then with empty lists of objects."""

    answers: ClassVar[list[tuple[int, str]]] = []
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        status, code = self.answers.pop(0) if self.answers else (200, "")
        empty = "<ListBucketResult><Name>pebr</Name></ListBucketResult>"
        body = f"<Error><Code>{code}</Code><Message>m</Message></Error>" if code else empty
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Store]:
    monkeypatch.setattr("pebr.store.s3_client.FIRST_WAIT", 0.001)
    Answering.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield S3Store(BUCKET, "x", environment(f"http://127.0.0.1:{server.server_port}"))
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "error", "asked"),
    [
        (403, "AccessDenied", InputError, 1),
        (400, "InvalidToken", InputError, 1),
        (403, "SignatureDoesNotMatch", InputError, 4),
        (400, "InvalidArgument", StoreError, 4),
        (429, "TooManyRequests", StoreError, 8),
    ],
)
def test_a_refusal_is_not_asked_for_as_often_as_an_outage(
    answering: S3Store, status: int, code: str, error: type[Exception], asked: int
) -> None:
    Answering.answers = [(status, code)] * 20
    with pytest.raises(error):
        answering.list("")
    assert Answering.asked == asked


def test_every_request_that_is_made_again_is_counted(answering: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    monkeypatch.setattr("pebr.store.s3_client.metrics.record", counted.append)
    Answering.answers = [(503, "SlowDown")] * 3 + [(403, "SignatureDoesNotMatch")]
    assert answering.list("") == []
    assert Answering.asked == 5
    assert counted == ["pebr_store_retries_total"] * 4  # three by the HTTP client, one by `persist`


def test_a_request_that_was_spoiled_once_is_sent_again(answering: S3Store) -> None:
    Answering.answers = [(403, "SignatureDoesNotMatch")]
    assert answering.list("") == []


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Digest: abcdef\r\n\r\n"


@pytest.mark.parametrize("cut", [0, 10, 17, 36, 39, 50, len(HEAD) - 2, len(HEAD) - 1])
def test_half_a_head_is_not_taken_for_a_whole_one(cut: int) -> None:
    answers = [HEAD[:cut], HEAD]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while answers:
                client, _ = listener.accept()
                with client:
                    client.recv(65536)
                    client.sendall(answers.pop(0))

        threading.Thread(target=serve, daemon=True).start()
        manager = pool_manager(retries=urllib3.Retry(total=2, allowed_methods=None))
        answer = manager.request("HEAD", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert dict(answer.headers) == {"Content-Length": "1000", "X-Digest": "abcdef"}
    assert not answers


def test_tries_that_come_further_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    done = 0

    def step() -> int:
        nonlocal done
        done += 1
        if done < 50:
            raise Interrupted(f"{done} of 50")
        return done

    assert persist(step, "get it", lambda: done) == 50


def test_a_disk_that_is_full_is_not_taken_for_a_bad_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("retried"))

    def full() -> None:
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(OSError, match="No space left") as error:
        persist(full, "get it")
    assert not isinstance(error.value, StoreError)
