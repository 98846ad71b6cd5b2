"""The connection to an S3 server: its address, the credentials, and retries.

Settings come from the environment and never from parameters, so that no file written by this program contains a secret:

    PEBR_S3_ENDPOINT        http(s)://host:port; https://s3.amazonaws.com when unset
    PEBR_S3_PATH_STYLE      true: http://host/bucket/key, false: http://bucket.host/key; the client's guess when unset
    AWS_REGION              region; requested from the server when unset
    SSL_CERT_FILE           certificate authorities for https, if the system's are not enough
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or a credentials file named by
    AWS_SHARED_CREDENTIALS_FILE (a mounted secret, read for each request) with AWS_PROFILE, or the pod's identity
    (AWS_WEB_IDENTITY_TOKEN_FILE or AWS_CONTAINER_CREDENTIALS_..._URI)
"""

import logging
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials import AWSConfigProvider, IamAwsProvider, StaticProvider
from minio.credentials.providers import Provider
from minio.error import InvalidResponseError, S3Error, ServerError
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from pebr.errors import InputError
from pebr.store.connection import pool_manager
from pebr.store.contract import StoreError
from pebr.telemetry import metrics

log = logging.getLogger("pebr")
Result = TypeVar("Result")

CONNECTIONS = 16
TRIES = 8
REFUSALS = 4  # tries where the server refuses the request (4xx); a request damaged in transit is refused too
FIRST_WAIT, LONGEST_WAIT = 0.1, 10.0  # seconds

ABSENT = {"NoSuchKey", "NoSuchObject", "NotFound"}
PERMANENT = {
    "AccessDenied": "the credentials may not do this: check them and the bucket's policy",
    "InvalidAccessKeyId": "the access key is unknown: check AWS_ACCESS_KEY_ID",
    "InvalidToken": "the session token is unknown: check AWS_SESSION_TOKEN",
    "ExpiredToken": "the session token has expired: renew AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock differs from the server's: set it",
    "NoSuchBucket": "the bucket is not there: create it, or check the name and PEBR_S3_ENDPOINT",
    "InvalidBucketName": "the bucket's name is not valid: check it",
    "AuthorizationHeaderMalformed": "the region is wrong: check AWS_REGION",
    "QuotaExceeded": "the store is full: make room",
    "InsufficientStorage": "the store is full: make room",
}
SPOILED = {  # refusals that may pass: the request that arrived was not the one that was signed
    "SignatureDoesNotMatch": "is the secret key correct (AWS_SECRET_ACCESS_KEY), or do bytes change in transit?"
}
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class Interrupted(Exception):  # noqa: N818 - an event that may pass
    """Fewer bytes arrived than were sent."""


PASSING = (S3Error, InvalidResponseError, ServerError, urllib3.exceptions.HTTPError, Interrupted)


def connect(environment: Mapping[str, str] = os.environ) -> Minio:
    """A client with the environment's settings (see the module's docstring).

    Raises:
        InputError: the endpoint is not an http address, or credentials are missing.
    """
    endpoint = environment.get("PEBR_S3_ENDPOINT") or "https://s3.amazonaws.com"
    address = urlsplit(endpoint)
    if address.scheme not in {"http", "https"} or not address.netloc or address.path.strip("/"):
        raise InputError(f"PEBR_S3_ENDPOINT={endpoint}: give http://host:port or https://host")
    # With the client's own retries a large upload does not restart for one failed part; `persist` has the longer waits.
    retries = _CountedRetry(
        total=4,
        backoff_factor=0.1,
        backoff_jitter=0.1,
        status_forcelist=[500, 502, 503, 504],
        allowed_methods=None,
        raise_on_status=False,
    )
    client = Minio(
        address.netloc,
        secure=address.scheme == "https",
        region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None,
        credentials=credentials(environment),
        http_client=pool_manager(timeout=urllib3.Timeout(connect=10, read=60), maxsize=CONNECTIONS, retries=retries),
    )
    match environment.get("PEBR_S3_PATH_STYLE", "").lower():
        case "true":
            client.disable_virtual_style_endpoint()
        case "false":
            client.enable_virtual_style_endpoint()
        case "":
            pass
        case other:
            raise InputError(f"PEBR_S3_PATH_STYLE={other}: give true or false, or leave it unset")
    return client


def credentials(environment: Mapping[str, str]) -> Provider:
    """The credentials for the server.

    Raises:
        InputError: no credentials are given, or only half of them.
    """
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        return StaticProvider(key, secret, environment.get("AWS_SESSION_TOKEN") or None)
    if key or secret:
        missing = "AWS_SECRET_ACCESS_KEY" if key else "AWS_ACCESS_KEY_ID"
        raise InputError(f"{missing} is not set, but the other key is: set both")
    identities = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if any(environment.get(name) for name in (*identities, "AWS_CONTAINER_CREDENTIALS_FULL_URI")):
        return IamAwsProvider()
    file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or str(Path.home() / ".aws" / "credentials")
    provider = AWSConfigProvider(file, environment.get("AWS_PROFILE"))
    try:
        provider.retrieve()
    except ValueError as error:
        raise InputError(
            f"no S3 credentials: {error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a credentials file"
            " in AWS_SHARED_CREDENTIALS_FILE"
        ) from error
    return provider


class _CountedRetry(urllib3.Retry):
    """Counts the requests that the client makes again by itself."""

    def increment(self, *args: Any, **kwargs: Any) -> Self:
        retry = super().increment(*args, **kwargs)
        metrics.record("pebr_store_retries_total")
        return retry


def persist(action: Callable[[], Result], what: str, progress: Callable[[], int] = lambda: 0) -> Result:
    """Run `action`; retry it after a growing random wait while it fails for a reason that may pass.

    Args:
        action: one or more requests; must be safe to repeat.
        what: the action and its place, for messages.
        progress: how far the action has come. Tries that made progress are not counted.

    Raises:
        InputError: for a reason that stays (see `PERMANENT`).
        StoreError: after `TRIES` tries without progress, or `REFUSALS` where the server refuses the request.
    """
    reached = progress()

    def attempt() -> Result:
        try:
            return action()
        except PASSING as error:
            _raise_if_permanent(error, what)
            raise

    def count(state: RetryCallState) -> None:
        nonlocal reached
        if progress() > reached:
            state.attempt_number = 0
        reached = progress()

    def give_up(state: RetryCallState) -> NoReturn:
        error, tries = _error_of(state), state.attempt_number
        if isinstance(error, S3Error) and error.code in SPOILED:
            raise InputError(f"{what}: refused {tries} times: {SPOILED[error.code]}") from error
        remedy = "look at what the server says" if _is_refusal(error) else "is the server up?"
        raise StoreError(f"{what}: failed {tries} times, last: {_line(error)}: {remedy}") from error

    return Retrying(
        retry=retry_if_exception_type(PASSING),
        after=count,
        stop=lambda state: state.attempt_number >= (min(REFUSALS, TRIES) if _is_refusal(_error_of(state)) else TRIES),
        wait=lambda state: min(LONGEST_WAIT, FIRST_WAIT * 2**state.attempt_number) * random.uniform(0.5, 1.0),
        before_sleep=lambda state: _tell_retry(what, state),
        retry_error_callback=give_up,
    )(attempt)


def _tell_retry(what: str, state: RetryCallState) -> None:
    log.info("%s: %s; retry in %.1f s", what, _line(_error_of(state)), state.upcoming_sleep)
    metrics.record("pebr_store_retries_total")


def _raise_if_permanent(error: Exception, what: str) -> None:
    if isinstance(error, S3Error) and error.code in PERMANENT:
        raise InputError(f"{what}: {PERMANENT[error.code]}") from error
    if UNTRUSTED in str(error):
        raise InputError(
            f"{what}: the server's certificate is not trusted: name its authority's certificate in SSL_CERT_FILE"
        ) from error
    if isinstance(error, S3Error) and error.code == "PreconditionFailed":
        raise StoreError(f"{what}: another writer replaced it meanwhile: get it again") from error


def _is_refusal(error: BaseException | None) -> bool:
    """True when the server understood the request and declined it: a 4xx other than 408 and 429, which may pass."""
    return isinstance(error, S3Error) and 400 <= error.response.status < 500 and error.response.status not in (408, 429)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _line(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200]
