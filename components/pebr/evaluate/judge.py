"""A judge model behind an OpenAI-compatible endpoint: a second look at answers that the rules call wrong. Optional."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pebr.errors import InputError

KEY_VARIABLE = "PEBR_JUDGE_KEY"
BESIDE = 8  # questions that are with the judge at a time
TRIES = 6
PAUSE = 1.0  # seconds after the first failure; doubled after each further one
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be others a little later

QUESTION = (
    "A student answered a question about an image. Say whether the student's answer means the same as the reference.\n"
    "Question: {question}\nReference: {reference}\nStudent: {given}\nReply with one word, yes or no."
)


class Judge:
    """Asks the endpoint `url` + /chat/completions, at temperature 0, several questions side by side.

    Args:
        url: of the endpoint, such as https://host/v1.
        model: name of the judge's model there.
        seconds: limit for one reply.
        pause: seconds after the first failure.
    """

    def __init__(self, url: str, model: str, seconds: float = 60.0, pause: float = PAUSE) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"judge_url {url!r}: not an http address: give one such as https://host/v1, or leave it empty"
            )
        if not model:
            raise InputError("judge_model is empty: name the model that judge_url serves")
        self.url, self.model, self.seconds = url.rstrip("/") + "/chat/completions", model, seconds
        self.pause = pause

    def agrees(self, answers: Sequence[tuple[str, str, str]]) -> list[bool]:
        """Whether the judge says that an answer means the same as the reference.

        Args:
            answers: (question, reference, given) of each.

        Raises:
            InputError: when the endpoint cannot be reached, also when tried again, or does not answer as OpenAI's does.
        """
        pool = ThreadPoolExecutor(BESIDE)
        try:
            return list(pool.map(self._agrees, answers))
        finally:
            pool.shutdown(cancel_futures=True)

    def _agrees(self, answer: tuple[str, str, str]) -> bool:
        question, reference, given = answer
        message = QUESTION.format(question=question, reference=reference, given=given)
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": message}]}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)  # noqa: S310 - http(s) only, checked
        for attempt in range(1, TRIES + 1):
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as reply:  # noqa: S310 - as above
                    text = json.load(reply)["choices"][0]["message"]["content"]
                return str(text).strip().lower().startswith("yes")
            except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
                if attempt == TRIES or not _passing(error):
                    raise InputError(
                        f"judge_url {self.url}: {error} (tries: {attempt}): check the address and {KEY_VARIABLE},"
                        " or leave judge_url empty"
                    ) from error
            time.sleep(self.pause * 2 ** (attempt - 1))
        raise AssertionError("the last try returns or raises")


def _passing(error: Exception) -> bool:
    """Whether trying again may help: a busy or absent server, a lost connection, a late reply; not a wrong one."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code in PASSING
    return isinstance(error, OSError | http.client.HTTPException)
