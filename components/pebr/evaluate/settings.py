"""The settings of the evaluation."""

from dataclasses import dataclass
from typing import Annotated

from pebr.errors import InputError
from pebr.sampling.settings import WorkerSettings
from pebr.step.settings import ANY_VALUE_RESUMES, Input, Output, ResumableSettings

QUESTIONS = "questions.jsonl"  # in the output: the scores of each question, as `pebr.evaluate.questions` writes them


@dataclass(frozen=True, kw_only=True)
class Settings(WorkerSettings, ResumableSettings):
    """Score a model on benchmarks by rules, and on how well it describes their images."""

    model: Annotated[str, Input("Model"), "Hugging Face directory of the model."]
    benchmarks: Annotated[
        str, Input(), "Directory of VLMEvalKit-style TSV files; a file's name is the benchmark's name."
    ]
    clip_model: Annotated[
        str, Input(), "open_clip or FG-CLIP directory for the CLIP reward of the image descriptions; empty for none."
    ] = ""
    output: Annotated[
        str,
        Output(),
        "Directory to write: scores.json, questions.jsonl, and all answers with their scores, answers/BENCHMARK/.",
    ]
    only: Annotated[
        str, ANY_VALUE_RESUMES, "Benchmarks to run, by TSV name, separated by commas; empty for all in the directory."
    ] = ""
    samples: Annotated[int, "Answers per question; accuracy is the share of correct answers."] = 1
    temperature: float = 0.0
    max_prompt_tokens: Annotated[
        int, "Questions with a longer prompt are not asked: they count as wrong and are kept in answers/*/rejected."
    ] = 4096
    judge_url: Annotated[
        str,
        "OpenAI-compatible endpoint of a judge model for answers that the rules call wrong; empty for none. Its API key"
        " is read from the environment variable PEBR_JUDGE_KEY.",
    ] = ""
    judge_model: Annotated[str, "Name of the judge model at that endpoint."] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge_url:
            check_judge(self.judge_url, self.judge_model)


def check_judge(url: str, model: str) -> None:
    """Check the address of a judge and the name of its model.

    Raises:
        InputError: naming the setting and how to fix it.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"judge_url {url!r}: not an http address: give one such as https://host/v1, or leave it empty")
    if not model:
        raise InputError("judge_model is empty: name the model that judge_url serves")
