"""Requests to a cluster: tried again when they fail for a reason that may pass, told in one line when they do not."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import kfp_server_api
import kubernetes
import urllib3

from pipelines.targets import TargetError

TRIES = 6
FIRST_WAIT = 1.0  # seconds; doubles with each try
TIMEOUT = (10, 60)  # seconds to connect, to answer
PASSING = {408, 429, 500, 502, 503, 504}
log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
ApiError = (kfp_server_api.ApiException, kubernetes.client.ApiException)  # twins, made by one generator


def persist(action: Callable[[], Answer], what: str, where: str, remedies: Mapping[int, str]) -> Answer:
    """Do it, and again after growing waits while it fails for a reason that may pass.

    Args:
        action: asks the server, once; whatever it changes there must bear being asked for twice.
        what: what it does, for the message.
        where: the server.
        remedies: HTTP status -> what it means and how to mend it.

    Raises:
        TargetError: for a reason that stays, or after `TRIES` tries.
    """
    wait = FIRST_WAIT
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except ApiError as error:
            reason = remedies.get(error.status, f"{error.status} {error.reason}: {_message(error.body)}")
            passing = error.status in PASSING
        except (urllib3.exceptions.HTTPError, ConnectionError) as error:
            reason, passing = f"{type(error).__name__}: {error}", True
        if not passing or attempt == TRIES:
            break
        log.info("%s: %s; again in %.0f s", what, reason, wait)
        time.sleep(wait)
        wait *= 2
    raise TargetError(f"{where}: {what}: {reason}", passing)


def _message(body: str | bytes | None) -> str:
    """What the server says about an error, in one line."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        told = json.loads(text)
    except ValueError:
        told = {}
    return " ".join(str(told.get("message", text) if isinstance(told, dict) else text).split())[:300]
