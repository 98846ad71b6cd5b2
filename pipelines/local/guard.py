"""Runs one command whose processes end with the runner: `python guard.py COMMAND ...`

The command gets its own process group. SIGTERM is passed to it. Standard input is a pipe whose other end only the
runner holds. When the runner closes it or ends, even by SIGKILL, the guard kills the whole process group. So no process
of an earlier run is left when a run starts again. Exits with the command's exit code, or 128 + the signal's number.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Run the command line's command."""
    try:
        command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}: install it, or fix the step's command")

    def kill_group(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # all processes have ended
            os.killpg(command.pid, signal.SIGKILL)

    def watch_runner() -> None:
        os.read(sys.stdin.fileno(), 1)
        kill_group()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner handles it
    signal.signal(signal.SIGTERM, lambda *_: command.send_signal(signal.SIGTERM))
    threading.Thread(target=watch_runner, daemon=True).start()
    code = command.wait()
    kill_group()  # processes that the command left behind
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
