"""Requests to a cluster: retried while the reason of a failure may pass, else reported in one line."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import kfp_server_api
import kubernetes
import urllib3
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from pipelines.targets import GoneError, TargetError

TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubles with each try
TIMEOUT = (10, 60)  # seconds to connect, to answer
PASSING = {408, 429, 500, 502, 503, 504}
log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
ApiError = (kfp_server_api.ApiException, kubernetes.client.ApiException)  # two classes from one code generator


def persist(action: Callable[[], Answer], what: str, where: str, remedies: Mapping[int, str], run: str = "") -> Answer:
    """Run `action`, which is safe to repeat; retry it after growing waits while the reason of a failure may pass.

    `what` and `where` name the action and the server in messages; `remedies` explain HTTP statuses. `run` names the run
    that is asked for, if it is one.

    Raises:
        GoneError: the run that is asked for does not exist any more.
        TargetError: for a reason that stays, or after `TRIES` tries.
    """

    def log_retry(state: RetryCallState) -> None:
        if state.outcome and (error := state.outcome.exception()):
            log.info("%s: %s; retry in %.0f s", what, _reason(error, remedies), state.upcoming_sleep)

    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(TRIES),
        wait=wait_exponential(multiplier=FIRST_WAIT),
        before_sleep=log_retry,
        reraise=True,
    )
    try:
        return retrying(action)
    except (*ApiError, urllib3.exceptions.HTTPError, ConnectionError) as error:
        if run and isinstance(error, ApiError) and error.status == 404:
            raise GoneError(f"{run} was deleted") from None
        raise TargetError(f"{where}: {what}: {_reason(error, remedies)}", _may_pass(error)) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status in PASSING
    return isinstance(error, urllib3.exceptions.HTTPError | ConnectionError)


def _reason(error: BaseException, remedies: Mapping[int, str]) -> str:
    if isinstance(error, ApiError):
        return remedies.get(error.status, f"{error.status} {error.reason}: {_message(error.body)}")
    return f"{type(error).__name__}: {error}"


def _message(body: str | bytes | None) -> str:
    """The server's message about an error, in one line."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return " ".join(str(answer.get("message", text) if isinstance(answer, dict) else text).split())[:300]
