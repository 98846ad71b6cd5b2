"""An optional judge model behind an OpenAI-compatible endpoint, asked about the answers that the rules call wrong."""

import os
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from pebr.errors import InputError
from pebr.evaluate.settings import check_judge

KEY_VARIABLE = "PEBR_JUDGE_KEY"
PARALLEL = 8  # requests at a time
TRIES = 6
PAUSE = 1.0  # seconds after the first failure; doubles after each further one
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are retried

QUESTION = (
    "A student answered a question about an image. Say whether the student's answer means the same as the reference.\n"
    "Question: {question}\nReference: {reference}\nStudent: {given}\nReply with one word, yes or no."
)


class Judge:
    """Asks the endpoint `url` + /chat/completions at temperature 0, with several requests in parallel.

    Args:
        url: of the endpoint, such as https://host/v1.
        model: name of the judge's model at that endpoint.
        seconds: timeout of one reply.
        pause: seconds after the first failure.
    """

    def __init__(self, url: str, model: str, seconds: float = 60.0, pause: float = PAUSE) -> None:
        check_judge(url, model)
        self.url, self.model, self.seconds = url.rstrip("/") + "/chat/completions", model, seconds
        self.pause = pause

    def agrees(self, answers: Sequence[tuple[str, str, str]]) -> list[bool]:
        """Whether each answer means the same as its reference, according to the judge.

        Args:
            answers: (question, reference, given) of each.

        Raises:
            InputError: the endpoint cannot be reached after `TRIES` tries, or does not reply as OpenAI's does.
        """
        key = os.environ.get(KEY_VARIABLE)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        trusted = ssl.create_default_context()  # the system's authorities, or SSL_CERT_FILE
        with httpx.Client(headers=headers, timeout=self.seconds, follow_redirects=True, verify=trusted) as client:
            pool = ThreadPoolExecutor(PARALLEL)
            try:
                return list(pool.map(partial(self._agrees, client), answers))
            finally:
                pool.shutdown(cancel_futures=True)

    def _agrees(self, client: httpx.Client, answer: tuple[str, str, str]) -> bool:
        question, reference, given = answer
        message = QUESTION.format(question=question, reference=reference, given=given)
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": message}]}
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=self.pause),
            reraise=True,
        )
        try:
            return retrying(self._ask, client, body)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"judge_url {self.url}: {_line(error)} (tries: {retrying.statistics['attempt_number']}): check the"
                f" address and {KEY_VARIABLE}, or leave judge_url empty"
            ) from error

    def _ask(self, client: httpx.Client, body: object) -> bool:
        reply = client.post(self.url, json=body).raise_for_status()
        text = reply.json()["choices"][0]["message"]["content"]
        return str(text).strip().lower().startswith("yes")


def _may_pass(error: BaseException) -> bool:
    """True when a retry may help: a busy or absent server, a lost connection, a late reply; not a wrong reply."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    return isinstance(error, httpx.TransportError)


def _line(error: Exception) -> str:
    """The error in one line; httpx adds a link in a second line."""
    return str(error).partition("\n")[0] or type(error).__name__
