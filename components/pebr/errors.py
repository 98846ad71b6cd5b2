"""Errors and exit codes that every step, command and library room shares."""

import errno

EXIT_WRONG_INPUT = 2
EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: "try again later"
# What a person must mend about a file or folder, by the operating system's error.
UNUSABLE = {
    errno.ENOSPC: "make room, or give another place",
    errno.EDQUOT: "make room, or raise the quota",
    errno.EROFS: "mount it writable, or give another place",
    errno.EACCES: "grant this user the right, or give another place",
    errno.EPERM: "grant this user the right, or give another place",
}


class InputError(ValueError):
    """A wrong input. The message is one line: what is wrong, where, and how to mend it."""


class Preempted(Exception):  # noqa: N818 - an event, not an error
    """The step was told to stop (SIGTERM) and has written a checkpoint to go on from."""
