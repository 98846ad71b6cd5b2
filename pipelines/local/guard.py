"""Runs one command so that nothing of it outlives the runner: `python guard.py COMMAND ...`

The command gets a process group of its own. SIGTERM is passed on to it. Standard input is a pipe whose other end only
the runner holds: it ends when the runner closes it or is gone, killed with SIGKILL included, and then the whole group
is killed. So a run that is started again never meets the remains of the last one. Exits with the command's code, or
128 + the signal's number.
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
        sys.exit(f"{sys.argv[1]}: {error.strerror}: install it, or mend the step's command")

    def kill_group(*_: object) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(command.pid, signal.SIGKILL)

    def watch_runner() -> None:
        os.read(sys.stdin.fileno(), 1)
        kill_group()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the runner decides
    signal.signal(signal.SIGTERM, lambda *_: command.send_signal(signal.SIGTERM))
    threading.Thread(target=watch_runner, daemon=True).start()
    code = command.wait()
    kill_group()  # what the command has left behind
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
