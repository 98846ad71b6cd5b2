"""A judge model behind an OpenAI-compatible endpoint: a second look at answers that the rules call wrong. Optional."""

import json
import os
import urllib.error
import urllib.request

from pebr.step import InputError

KEY_VARIABLE = "PEBR_JUDGE_KEY"

QUESTION = (
    "A student answered a question about an image. Say whether the student's answer means the same as the reference.\n"
    "Question: {question}\nReference: {reference}\nStudent: {given}\nReply with one word, yes or no."
)


class Judge:
    """Asks the endpoint `url` + /chat/completions, at temperature 0."""

    def __init__(self, url: str, model: str, seconds: float = 60.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"judge_url {url!r}: not an http address: give one such as https://host/v1, or leave it empty"
            )
        if not model:
            raise InputError("judge_model is empty: name the model that judge_url serves")
        self.url, self.model, self.seconds = url.rstrip("/") + "/chat/completions", model, seconds

    def agrees(self, question: str, reference: str, given: str) -> bool:
        """True when the judge says that `given` means the same as `reference`.

        Raises:
            InputError: when the endpoint cannot be reached or does not answer as OpenAI's does.
        """
        message = QUESTION.format(question=question, reference=reference, given=given)
        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": message}]}
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY_VARIABLE):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)  # noqa: S310 - http(s) only, checked
        try:
            with urllib.request.urlopen(request, timeout=self.seconds) as reply:  # noqa: S310 - as above
                text = json.load(reply)["choices"][0]["message"]["content"]
        except (urllib.error.URLError, TimeoutError, ValueError, LookupError) as error:
            raise InputError(
                f"judge_url {self.url}: {error}: check the address and {KEY_VARIABLE}, or leave judge_url empty"
            ) from error
        return str(text).strip().lower().startswith("yes")
