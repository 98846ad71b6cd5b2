"""The judge against a real HTTP server that speaks the chat-completions protocol."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pebr.evaluate.judge import Judge
from pebr.step import InputError


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PEBR_JUDGE_KEY", "secret")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["Authorization"] != "Bearer secret":
                self.send_error(401)
                return
            said = "Yes." if "Student: 7 apples" in body["messages"][0]["content"] else "No"
            reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_the_judge_is_believed(endpoint: str) -> None:
    judge = Judge(endpoint, "m")
    assert judge.agrees("How many?", "7", "7 apples")
    assert not judge.agrees("How many?", "7", "8 apples")


def test_a_refused_key_is_an_error_and_not_a_wrong_answer(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEBR_JUDGE_KEY", "other")
    with pytest.raises(InputError, match="401"):
        Judge(endpoint, "m").agrees("How many?", "7", "8")


def test_an_address_that_is_not_http_is_refused() -> None:
    with pytest.raises(InputError, match="not an http address"):
        Judge("file:///etc/passwd", "m")
