"""Follows the log of a pod, live, and goes on after a lost connection without a line twice."""

import logging
import sys
import threading
import time

import urllib3
from kubernetes import client

from pipelines.targets.retrying import ApiError

log = logging.getLogger("pebr.nodes")
AGAIN_SECONDS = 2.0  # before the log is asked for again
OVERLAP = 60  # seconds asked for again, so that none is missed


class NodeLog(threading.Thread):
    """Writes the log of a pod's container `node` to standard output, until the container ends or `close` is called."""

    def __init__(self, pod: str, namespace: str) -> None:
        super().__init__(name=f"log of {pod}", daemon=True)
        self.pod, self.namespace = pod, namespace
        self._api = client.CoreV1Api()
        self.reading = threading.Event()  # the server has begun to send the log, or has none
        self._closed = threading.Event()
        self._last = ""  # time of the last line that was written, in the kubelet's format of fixed width
        self._heard = 0.0  # when it was read here

    def close(self, seconds: float) -> None:
        """End, after at most so many seconds for the lines that are on their way."""
        self.join(seconds)
        self._closed.set()

    def run(self) -> None:
        """Read until the end of the log."""
        while not self._closed.is_set():
            try:
                self._read()
            except ApiError as error:
                if error.status == 404:  # the pod is gone
                    self.reading.set()
                    return
                log.debug("log of %s: %s", self.pod, error)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                log.debug("log of %s: %s", self.pod, error)
            else:
                return
            self._closed.wait(AGAIN_SECONDS)

    def _read(self) -> None:
        """Write the lines that are not written yet, until the server closes the log."""
        since = {"since_seconds": int(time.monotonic() - self._heard) + OVERLAP} if self._last else {}
        lines = self._api.read_namespaced_pod_log(
            self.pod,
            self.namespace,
            container="node",
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(10, None),
            **since,
        )
        self.reading.set()
        for line in lines:
            moment, _, text = line.decode(errors="replace").partition(" ")
            if moment > self._last:
                self._last, self._heard = moment, time.monotonic()
                sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
                sys.stdout.flush()
            if self._closed.is_set():
                return
