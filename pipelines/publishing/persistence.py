"""Requests to a server that gets a published model: repeated while the reason of a failure may pass."""

from collections.abc import Callable
from typing import TypeVar

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from pipelines.targets import TargetError
from pipelines.targets.retrying import PASSING, TRIES

FIRST_WAIT = 1.0  # seconds; doubles with each try
Answer = TypeVar("Answer")


def persist(action: Callable[[], Answer], what: str, credentials: str) -> Answer:
    """Run an action that is safe to repeat; returns its result.

    Args:
        action: makes requests with httpx.
        what: begins the error's message.
        credentials: ends the message if the server refuses ours.

    Raises:
        TargetError: the action failed, or the server's answer cannot be read.
    """
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST_WAIT),
        reraise=True,
    )
    try:
        return retrying(action)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError) as error:
        text = error.response.text[:300] if isinstance(error, httpx.HTTPStatusError) else ""
        said = " ".join(f"{str(error).partition(chr(10))[0]} {text}".split())
        hint = credentials if "401" in said or "403" in said else ""
        raise TargetError(f"{what}: {said}{hint}", _may_pass(error)) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    return isinstance(error, httpx.TransportError)
