"""A server with one model and the part of the Hugging Face hub's protocol that a download uses."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

NAME = "tiny/model"
REVISIONS = {
    "main": ("a" * 40, {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"pickle"}),
    "v1": ("b" * 40, {"config.json": b'{"old": 1}'}),
}


class Handler(BaseHTTPRequestHandler):
    """Answers the three requests of a download: the list of files, their sizes, and their bytes."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Keep the output of the tests readable."""

    def _answer(self, status: int, body: bytes, headers: dict[str, str], whole: bool = True) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if whole:
            self.wfile.write(body)

    def _serve(self, whole: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        for revision, (commit, files) in REVISIONS.items():
            if path == f"/api/models/{NAME}/revision/{revision}":
                found = {"id": NAME, "sha": commit, "siblings": [{"rfilename": name} for name in files]}
                self._answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"}, whole)
                return
            if path == f"/api/models/{NAME}/tree/{commit}":
                listed = [{"type": "file", "path": name, "size": len(content), "oid": commit[:4] + name}
                          for name, content in files.items()]  # fmt: skip
                self._answer(200, json.dumps(listed).encode(), {"Content-Type": "application/json"}, whole)
                return
            for name, content in files.items():
                if path == f"/{NAME}/resolve/{commit}/{name}":
                    self._answer(200, content, {"ETag": f'"{commit[:4]}{name}"', "X-Repo-Commit": commit}, whole)
                    return
        code = "RevisionNotFound" if f"/{NAME}/" in path else "RepoNotFound"
        self._answer(404, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"}, whole)

    def do_GET(self) -> None:
        """Answer with the body."""
        self._serve(whole=True)

    def do_HEAD(self) -> None:
        """Answer with the head only."""
        self._serve(whole=False)


@contextmanager
def hub() -> Iterator[tuple[str, list[str]]]:
    """Run the server; yields its address, for HF_ENDPOINT, and the requested paths."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Handler.asked
    finally:
        server.shutdown()
