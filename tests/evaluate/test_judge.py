"""The judge against a real HTTP server that speaks the chat-completions protocol."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pebr.errors import InputError
from pebr.evaluate.judge import Judge


@pytest.fixture
def busy() -> list[int]:
    """HTTP statuses that the endpoint returns before it answers, the last one first."""
    return []


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, busy: list[int]) -> Iterator[str]:
    monkeypatch.setenv("PEBR_JUDGE_KEY", "secret")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if busy and (status := busy.pop()):
                self.send_error(status)
                return
            if self.headers["Authorization"] != "Bearer secret":
                self.send_error(401)
                return
            said = "Yes." if "Student: 7 apples" in body["messages"][0]["content"] else "No"
            reply = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            """Keep the output of the tests readable."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def ask(endpoint: str, *given: str) -> list[bool]:
    return Judge(endpoint, "m", pause=0.01).agrees([("How many?", "7", answer) for answer in given])


def test_the_judge_is_believed_in_the_order_asked(endpoint: str) -> None:
    given = ["7 apples" if i % 3 else "8 apples" for i in range(40)]
    assert ask(endpoint, *given) == [answer == "7 apples" for answer in given]


def test_a_busy_judge_is_asked_again(endpoint: str, busy: list[int]) -> None:
    busy += [503, 429, 500]
    assert ask(endpoint, "7 apples") == [True]
    assert busy == []


def test_a_judge_that_stays_away_ends_in_one_line(endpoint: str, busy: list[int]) -> None:
    busy += [503] * 50
    with pytest.raises(InputError, match=r"503.*tries: 6") as error:
        ask(endpoint, "7 apples")
    assert "\n" not in str(error.value)


def test_a_refused_key_is_an_error_at_once_and_not_a_wrong_answer(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEBR_JUDGE_KEY", "other")
    with pytest.raises(InputError, match=r"401.*tries: 1"):
        ask(endpoint, "8")


def test_an_address_that_is_not_http_is_refused() -> None:
    with pytest.raises(InputError, match="not an http address"):
        Judge("file:///etc/passwd", "m")
