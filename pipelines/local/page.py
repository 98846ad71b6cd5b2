"""Writes the live report of a run to its folder while it runs: `report.html`, which the final report replaces."""

import time
from collections.abc import Mapping
from pathlib import Path

from pebr.files import atomic_file
from pebr.report.live import LiveRun, RunFolder, render_live
from pipelines.local.artifacts import Status

LOOK_SECONDS = 2.0
WRITE_SECONDS = 120.0


class LivePage:
    """The live report of a run: written when a step changes its state, after each validation, and every two minutes."""

    def __init__(self, work: Path) -> None:
        self._path, self._source = work / "report.html", RunFolder(work)
        self._shown: object = None
        self._looked = self._written = -WRITE_SECONDS

    def update(self, _: Mapping[str, Status]) -> None:
        """Write the page if there is something new; a view of the runner."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        run = self._source.read()
        if _news(run) != self._shown or now - self._written >= WRITE_SECONDS:
            self.write(run)

    def write(self, run: LiveRun | None = None) -> None:
        """Write the page now."""
        run = run or self._source.read()
        self._shown, self._written = _news(run), time.monotonic()
        with atomic_file(self._path) as beside:
            beside.write_text(render_live(run), encoding="utf-8")


def _news(run: LiveRun) -> object:
    validations = [sum(any(k.startswith("validation/") for k in row) for row in t.rows) for t in run.trainings]
    return [(step["title"], step["state"]) for step in run.steps], validations
