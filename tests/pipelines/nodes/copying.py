"""A step for tests: copies its input to its output, in the way that its last argument says."""

import os
import signal
import sys
import time
from pathlib import Path

source, target, how = sys.argv[1:]
if how == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    print("waiting", flush=True)
    while True:
        time.sleep(0.05)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "fail":
    sys.exit(7)
Path(target).parent.mkdir(parents=True, exist_ok=True)
Path(target).write_bytes(Path(source).read_bytes())
