"""The model card of a published model: a README.md with YAML front matter, as the Hugging Face hub reads it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from pebr.vlm.serving import SERVING_FILE
from pipelines.gate import Scores, Verdict

HUB_DATASET = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)")
HUB_MODEL = re.compile(r"hf://(?!datasets/)([\w.-]+/[\w.-]+)")
NO_SCORES = {"started", "seconds"}  # metrics of every step
LICENSE = ("license", "license_name", "license_link")


@dataclass(frozen=True)
class Data:
    """A dataset of the run."""

    name: str
    source: str
    rows: int | None  # after the filter; None if unknown
    digest: str  # SHA-256 of the filtered rows' manifest, which has the digest of every shard; "" if unknown


@dataclass(frozen=True)
class Facts:
    """What is known of a run that is published."""

    run: str  # its name
    pipeline: str  # name of the pipeline
    recipe: str
    commit: str
    image: str
    parameters: Mapping[str, object]  # all of the run
    changed: Sequence[str]  # names of the parameters that differ from the pipeline's defaults
    model: str = ""  # location of its model
    scores: Scores = field(default_factory=dict)  # metrics of the evaluations, by step id
    final: str = ""  # id of the final evaluation
    verdicts: Sequence[Verdict] = ()
    before: Mapping[str, float] | None = None  # metrics of the model that was published before
    data: Sequence[Data] = ()


@dataclass(frozen=True)
class Origin:
    """What the model's files say: the prompt of its questions, and the licence of its base, in the hub's fields."""

    prompt: str
    license: Mapping[str, Any] = field(default_factory=dict)


def license_of(base_card: str) -> dict[str, str]:
    """The licence in a model card's front matter, in the hub's fields; {} if it says none or cannot be read."""
    try:
        data = ModelCard(base_card, ignore_metadata_errors=True).data.to_dict()
    except (ValueError, yaml.YAMLError):
        return {}
    return {name: str(data[name]) for name in LICENSE if data.get(name)}


def card(facts: Facts, origin: Origin) -> str:
    """The text of README.md."""
    body = "\n".join(
        line for section in (_head, _use, _prompt, _data, _training, _scores, _gates) for line in section(facts, origin)
    )
    return f"---\n{_front_matter(facts, origin).to_yaml()}\n---\n{body}"


def _front_matter(facts: Facts, origin: Origin) -> ModelCardData:
    base = HUB_MODEL.match(str(facts.parameters.get("model_source", "")))
    sources = " ".join(str(facts.parameters.get(name, "")) for name in ("sft_source", "rl_source"))
    benchmarks = str(facts.parameters.get("benchmarks_source", "benchmarks"))
    results = [
        EvalResult("image-text-to-text", benchmarks, benchmarks, metric, value, metric_name=metric)
        for metric, value in _metrics(facts.scores.get(facts.final, {})).items()
    ]
    return ModelCardData(
        **origin.license,
        base_model=base[1] if base else None,
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        tags=["pebr", "grpo", "vllm"],
        datasets=list(dict.fromkeys(HUB_DATASET.findall(sources))) or None,
        model_name=facts.run,
        eval_results=results or None,
    )


def _head(facts: Facts, origin: Origin) -> Iterator[str]:
    """The title, and what the model is."""
    base = facts.parameters.get("model_source", "a base model")
    stated = origin.license.get("license_name") or origin.license.get("license")
    yield from (f"# {facts.run}", "")
    yield f"A vision-language model, trained from {_code(base)} by two-stage reinforcement learning,"
    yield "perception before reasoning (PeBR-R1, arXiv 2509.13031). It describes the image, reasons step by step, then"
    yield "answers."
    link = origin.license.get("license_link")
    told = f"{stated}{f' ({link})' if link else ''}" if stated else "not known: see the base model"
    yield from ("", f"Licence: {told}.", "")


def _use(facts: Facts, origin: Origin) -> Iterator[str]:
    size = _pixels(facts.parameters)
    yield from ("## Use", "", "```")
    yield "python -m pebr.answer --model . --image picture.png 'What is left of the red square?'"
    yield f"vllm serve . --chat-template {SERVING_FILE} --chat-template-content-format openai \\"
    yield f"    --mm-processor-kwargs '{json.dumps(size)}'"
    yield from ("```", "")
    yield f"Send the question alone: `{SERVING_FILE}` asks with the prompt below, as training did. With the model's own"
    yield from ("chat template, put the question into the prompt first.", "")


def _prompt(facts: Facts, origin: Origin) -> Iterator[str]:
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", origin.prompt) or [""]))
    yield from ("## Prompt", "", f"{fence}text", origin.prompt, fence, "")


def _data(facts: Facts, origin: Origin) -> Iterator[str]:
    yield from ("## Data", "", "| | source | rows used | SHA-256 of the rows' manifest |", "|---|---|---|---|")
    for data in facts.data:
        rows = "" if data.rows is None else str(data.rows)
        yield f"| {data.name} | {_code(data.source)} | {rows} | {data.digest and _code(data.digest)} |"
    yield ""


def _training(facts: Facts, origin: Origin) -> Iterator[str]:
    yield from ("## Training", "", "| | |", "|---|---|")
    yield f"| run | {_code(facts.run)} |"
    yield f"| pipeline and recipe | {_code(facts.pipeline)}, {_code(facts.recipe)} |"
    yield f"| code revision | {facts.commit and _code(facts.commit)} |"
    yield f"| image | {_code(facts.image)} |"
    yield from ("", "Parameters that differ from the pipeline's defaults:", "", "| parameter | value |", "|---|---|")
    yield from (f"| {name} | {_code(facts.parameters[name])} |" for name in facts.changed)
    yield ""


def _scores(facts: Facts, origin: Origin) -> Iterator[str]:
    """A column per evaluation, the final one last, after the model that was published before."""
    columns = {name: _metrics(metrics) for name, metrics in facts.scores.items() if name != facts.final}
    if facts.before is not None:
        columns["published before"] = _metrics(facts.before)
    columns[f"**{facts.final}**"] = final = _metrics(facts.scores.get(facts.final, {}))
    yield from (
        "## Scores",
        "",
        f"Means over the benchmarks of {_code(facts.parameters.get('benchmarks_source', ''))}.",
    )
    yield from ("", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|")
    for metric in final:
        yield f"| {metric} | {' | '.join(f'{c[metric]:.4g}' if metric in c else '' for c in columns.values())} |"
    yield ""


def _gates(facts: Facts, origin: Origin) -> Iterator[str]:
    if not facts.verdicts:
        return
    yield from ("Gates that it has passed:", "", "| gate | score | bound |", "|---|---|---|")
    yield from (f"| {_code(v.gate)} | {v.score:.4g} | {v.bound:.4g} |" for v in facts.verdicts)
    yield ""
    for verdict in facts.verdicts:
        if verdict.note:
            yield from (f"{_code(verdict.gate)}: {verdict.note}.", "")


def _metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in sorted(metrics.items()) if name not in NO_SCORES}


def _pixels(parameters: Mapping[str, object]) -> dict[str, object]:
    """The processor's argument that limits images as training did."""
    return {"size": {"shortest_edge": parameters["min_pixels"], "longest_edge": parameters["max_pixels"]}}


def _code(value: object) -> str:
    """A value as code in a table's cell, on one line."""
    text = " ".join(str(value).split()).replace("|", "\\|").replace("`", "'")
    return f"`{text}`" if text else ""
