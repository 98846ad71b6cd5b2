"""Errors and exit codes that all steps, commands and packages share."""

import errno

EXIT_WRONG_INPUT = 2
EXIT_PREEMPTED = 75  # EX_TEMPFAIL in sysexits.h: a temporary failure, retry later
# How to fix a file or folder that cannot be used, by the operating system's error number.
UNUSABLE = {
    errno.ENOSPC: "make room, or give another place",
    errno.EDQUOT: "make room, or raise the quota",
    errno.EROFS: "mount it writable, or give another place",
    errno.EACCES: "grant this user the right, or give another place",
    errno.EPERM: "grant this user the right, or give another place",
}


class InputError(ValueError):
    """A wrong input. The message is one line: what is wrong, where, and how to fix it."""


class RanksEnded(SystemExit):
    """All processes that this one has started for a step have ended, with this exit code."""


class Preempted(Exception):  # noqa: N818 - an event, not an error
    """The step received SIGTERM and has written a checkpoint to resume from."""
