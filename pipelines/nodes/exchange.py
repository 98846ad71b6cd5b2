"""What the launcher and the nodes hand to each other, in the store of the checkpoints: their pods share no disk.

<checkpoints>/<job>-exchange/inputs/<name>     from the launcher, for every node
<checkpoints>/<job>-exchange/outputs/<name>    from node 0, for the launcher
<checkpoints>/<job>-exchange/done              the outputs' names; written last: they are complete
<checkpoints>/<job>-exchange/alive             the launcher's last sign of life, in unix seconds
"""

import json
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from pebr.store.contract import NotThereError
from pebr.store.opening import open_store

log = logging.getLogger("pebr.nodes")

DONE, ALIVE = "done", "alive"


class Exchange:
    """The exchange of one job."""

    def __init__(self, location: str) -> None:
        """`location` is an `s3://` prefix, or a folder that all pods share."""
        self.location = location
        self._store = open_store(location)

    def put_inputs(self, paths: Mapping[str, Path]) -> None:
        """Store the inputs that are not there yet; the location names their content."""
        for name, path in paths.items():
            if not self._store.exists(f"inputs/{name}"):
                log.info("input %s: copying to %s for the nodes", name, self.location)
                self._store.put(path, f"inputs/{name}")

    def fetch_inputs(self, names: Iterable[str], folder: Path) -> None:
        """Fetch the inputs that are not in the folder yet."""
        for name in names:
            if not (folder / name).exists():
                self._store.get(f"inputs/{name}", folder / name)

    def put_outputs(self, names: Iterable[str], folder: Path) -> None:
        """Store the outputs that the step has written, and say that they are complete."""
        written = [name for name in names if (folder / name).exists()]
        for name in written:
            self._store.put(folder / name, f"outputs/{name}")
        self._write(DONE, json.dumps(written))

    def is_done(self) -> bool:
        """Whether all outputs are there."""
        return self._store.exists(DONE)

    def fetch_outputs(self, targets: Mapping[str, Path]) -> None:
        """Fetch the outputs; those that the step has not written are left out."""
        for name in json.loads(self._read(DONE)):
            self._store.get(f"outputs/{name}", targets[name])

    def beat(self) -> None:
        """Give a sign of life of the launcher."""
        self._write(ALIVE, str(time.time()))

    def silence(self) -> float:
        """Seconds since the launcher's last sign of life; infinite if there is none; 0 if the store does not answer.

        The clocks of two machines differ by less than what S3 itself accepts, 15 minutes.
        """
        try:
            return time.time() - float(self._read(ALIVE))
        except NotThereError:
            return float("inf")
        except OSError as error:
            log.warning("no answer about the launcher: %s", error)
            return 0.0

    def delete(self) -> None:
        """Remove everything; first what says that it is complete."""
        for prefix in (DONE, ALIVE, "outputs/", "inputs/"):
            self._store.delete_prefix(prefix)

    def _write(self, key: str, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / key
            path.write_text(text)
            self._store.put(path, key)

    def _read(self, key: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / key
            self._store.get(key, path)
            return path.read_text()
