"""What a rank and its launcher tell each other, without importing torch."""

import ctypes
import os
import signal
import sys

LAUNCHER = "PEBR_LAUNCHER"  # process id of the launcher of a rank
DONE = "PEBR_DONE"  # file descriptor of a pipe to the launcher
NODE_RANK = "PET_NODE_RANK"  # of this machine, if a step runs on several (`pebr.step.nodes`)


def is_first_process() -> bool:
    """Whether this process writes the step's results: rank 0 or its launcher, or the only process."""
    return os.environ.get("RANK", os.environ.get(NODE_RANK) or "0") == "0"


def tell_done() -> None:
    """Tell the launcher, if there is one, that this rank's work is done.

    Exit code 0 alone does not say so: code that the work calls may have ended the process.
    """
    if descriptor := os.environ.pop(DONE, ""):
        os.write(int(descriptor), b"1")
        os.close(int(descriptor))


def die_with_parent() -> None:
    """Let the kernel kill this rank when its launcher ends: an orphan would write to the files of a restarted run."""
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
            os.kill(os.getpid(), signal.SIGKILL)  # the launcher ended before the call above
