"""Serves the live report of a run: `python -m pebr.report --follow RUN [--port 8080]`

RUN is the --work folder of a run on this machine, or the place of the checkpoints of runs on a cluster, a folder or an
s3:// prefix (the parameter `checkpoints`). The page is made anew when it is asked for, and loads itself again.
"""

import argparse
import logging
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pebr.errors import EXIT_WRONG_INPUT, InputError
from pebr.report.live import CheckpointPlace, RunFolder, render_live
from pebr.telemetry.logs import configure

log = logging.getLogger("pebr")

KEEP_SECONDS = 5.0  # a page is not made more often


class Pages:
    """The newest page of a run.

    Raises:
        InputError: the folder is not there.
    """

    def __init__(self, run: str) -> None:
        local = Path(run.removeprefix("file://"))
        if "://" not in run and not local.is_dir():
            raise InputError(f"{run}: no such folder: give the --work folder of a run, or the place of its checkpoints")
        self._folder = local if (local / "run.json").is_file() else None
        self._source = RunFolder(local) if self._folder else CheckpointPlace(run)
        self._lock = threading.Lock()
        self._page, self._made = "", -KEEP_SECONDS

    def page(self) -> str:
        """The page of now; of a run on this machine that is done, its final report.

        Raises:
            InputError: there is no run.
        """
        with self._lock:
            if time.monotonic() - self._made >= KEEP_SECONDS:
                run = self._source.read()
                final = self._folder / "report.html" if self._folder else None
                is_final = run.state == "done" and final is not None and final.is_file()
                self._page = final.read_text(encoding="utf-8") if is_final and final else render_live(run)
                self._made = time.monotonic()
            return self._page


def serve(run: str, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """A server of the live report, which the caller lets `serve_forever`; port 0 takes a free one.

    Raises:
        InputError: there is no run, or the port cannot be opened.
    """
    pages = Pages(run)
    pages.page()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                self.send_error(404)
                return
            try:
                code, body = 200, pages.page().encode()
            except (InputError, OSError) as error:  # the store is away for a moment
                code, body = 503, f"{error}\n".encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/html; charset=utf-8" if code == 200 else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    try:
        return ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: {error}: give another one, or 0 for any") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    configure()
    parser = argparse.ArgumentParser(prog="python -m pebr.report", description="Serve the live report of a run.")
    parser.add_argument("--follow", required=True, metavar="RUN", help="folder of a run, or place of the checkpoints")
    parser.add_argument("--port", type=int, default=8080, help="port on this machine (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        server = serve(options.follow, options.port, options.host)
    except (InputError, OSError) as error:  # OSError: the store fails
        log.error("%s", error)  # noqa: TRY400
        return EXIT_WRONG_INPUT if isinstance(error, InputError) else 1
    log.info("the live report of %s: http://%s:%d", options.follow, options.host, server.server_port)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        log.info("ended")
    return 0
