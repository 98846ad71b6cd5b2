"""Evaluation: ask a model every question of every benchmark, score the answers by rule, keep each of them.

Besides accuracy every benchmark gets the perception measures (format, and where the data allow it the CLIP and keyword
rewards) and the share of answers in which no final answer could be found: a low accuracy has two causes, and only that
share tells them apart.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from pebr.data.benchmark import BenchmarkRow, read_tsv
from pebr.data.images import ImageError, decode
from pebr.data.shards import ShardWriter
from pebr.evaluate.judge import Judge
from pebr.evaluate.rules import MAX_ANSWER_CHARACTERS, Comparison, question_text, rule_for
from pebr.evaluate.settings import Settings
from pebr.evaluate.summary import overall, summarise
from pebr.rewards.answer import AnswerChecker
from pebr.rewards.batch import RewardBatch
from pebr.rewards.clip import ClipScorer, load_scorer
from pebr.rewards.stages import StageReward, build_reward
from pebr.sampling.sampler import Question, Sample, Sampler, SamplingSettings, start_sampler
from pebr.step import InputError, atomic_directory
from pebr.telemetry.logs import progress
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from pebr.vlm.prompt import PromptError

log = logging.getLogger("pebr")

ANSWER_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("qid", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("category", pa.string()),
        ("response", pa.string()),
        ("given", pa.string()),
        ("finish_reason", pa.string()),
        ("response_tokens", pa.int32()),
        ("correct", pa.float32()),
        ("format", pa.float32()),
        ("clip", pa.float32()),
        ("keyword", pa.float32()),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
    ]
)
MEASURES = ("format", "clip", "keyword", "no_answer", "cut_off", "response_tokens")
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Answered(NamedTuple):
    """One response to one row, scored."""

    response: str
    sample: Sample
    given: str
    correct: float
    measures: dict[str, float | None]


def run(settings: Settings) -> dict[str, float]:
    """Evaluate a model; returns the means over the benchmarks.

    Raises:
        InputError: when benchmarks, model or judge are not what they must be.
    """
    benchmarks = find_benchmarks(Path(settings.benchmarks), settings.only)
    judge = Judge(settings.judge_url, settings.judge_model) if settings.judge_url else None
    encoder = Encoder(load_processor(settings.model, settings.min_pixels, settings.max_pixels))
    clip = load_scorer(settings.clip_model) if settings.clip_model else None
    sampler = start_sampler(
        settings.sampling,
        settings.model,
        encoder,
        DTYPES[settings.dtype],
        max_tokens=settings.max_prompt_tokens + settings.max_response_tokens,
    )
    results: dict[str, dict[str, Any]] = {}
    with atomic_directory(settings.output) as output, AnswerChecker(workers=os.cpu_count() or 1) as checker:
        reward = perception_reward(clip, checker, encoder)
        with ShardWriter(output / "answers", ANSWER_SCHEMA, "answers") as writer:
            for name, path in benchmarks.items():
                evaluation = _Evaluation(settings, name, encoder, sampler, checker, reward, clip, judge)
                results[name] = evaluation.run(list(read_tsv(path)), writer)
        sampler.close()
        means = overall(results.values())
        scores = {"model": settings.model, "benchmarks": results, **means}
        (output / "scores.json").write_text(json.dumps(scores, indent=1, sort_keys=True) + "\n")
    return means


def find_benchmarks(directory: Path, only: str) -> dict[str, Path]:
    """The benchmarks of a directory by name, all or those in `only`, in alphabetical order.

    Raises:
        InputError: when there are none, one that is asked for is not there, or one has no questions.
    """
    found = {path.stem: path for path in sorted(directory.glob("*.tsv"))}
    if not found:
        raise InputError(f"{directory}: no *.tsv here: give --benchmarks a directory of VLMEvalKit TSV files")
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if missing := [name for name in wanted if name not in found]:
        raise InputError(f"{directory}: no {missing[0]}.tsv here: --only takes names among {', '.join(found)}")
    chosen = {name: path for name, path in found.items() if not wanted or name in wanted}
    for path in chosen.values():
        if next(read_tsv(path), None) is None:
            raise InputError(f"{path}: no rows: give a benchmark with questions")
    return chosen


def perception_reward(clip: ClipScorer | None, checker: AnswerChecker, encoder: Encoder) -> StageReward:
    """The perception stage's reward, of which evaluation reports the components; without CLIP where there is none."""
    weights = {"clip": 1.0, "keyword": 1.0, "format": 1.0} if clip else {"keyword": 1.0, "format": 1.0}
    return build_reward("perception", "paper", weights, clip, checker, encoder.count_tokens)


class _Evaluation:
    """One benchmark's run."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        encoder: Encoder,
        sampler: Sampler,
        checker: AnswerChecker,
        reward: StageReward,
        clip: ClipScorer | None,
        judge: Judge | None,
    ) -> None:
        self.settings, self.name, self.encoder, self.sampler = settings, name, encoder, sampler
        self.checker, self.reward, self.has_clip, self.judge = checker, reward, clip is not None, judge
        self.refused: dict[str, str] = {}  # index -> reason

    def run(self, rows: Sequence[BenchmarkRow], writer: ShardWriter) -> dict[str, Any]:
        """Ask, score and write all rows; returns the benchmark's scores."""
        settings = SamplingSettings(
            self.settings.samples,
            self.settings.temperature,
            self.settings.top_p,
            self.settings.max_response_tokens,
            self.settings.seed,
        )
        answers = dict(
            progress(self.sampler.stream(self._questions(rows), settings, step=0), len(rows), f"evaluate {self.name}")
        )
        asked = [row for row in rows if row.index in answers]
        scored = dict(zip((row.index for row in asked), self._score(asked, answers), strict=True))
        for row in rows:
            for answered in scored.get(row.index, []):
                writer.write(self._record(row, answered))
            if row.index in self.refused:
                writer.reject({"qid": row.index, "question": row.question}, self.refused[row.index])
        measures = {
            name: [_mean([a.measures[name] for a in scored.get(r.index, [])]) for r in rows] for name in MEASURES
        }
        correct = [_mean([a.correct for a in scored.get(row.index, [])]) or 0.0 for row in rows]
        scores = summarise(self.name, rows, correct, measures)
        scores["refused"] = len(self.refused)
        log.info("%s: accuracy %.3f over %d rows", self.name, scores["accuracy"], len(rows))
        return scores

    def _questions(self, rows: Sequence[BenchmarkRow]) -> Iterator[Question]:
        """The rows that can be asked, encoded one at a time as the sampler takes them."""
        limit = self.settings.max_prompt_tokens
        for row in rows:
            try:
                prompt = self.encoder.prompt(question_text(row), [decode(data) for data in row.images])
            except (PromptError, ImageError) as error:
                self.refused[row.index] = str(error)
                continue
            if len(prompt.token_ids) > limit:
                self.refused[row.index] = f"prompt of {len(prompt.token_ids)} tokens, at most {limit} are asked"
                continue
            yield Question(row.index, prompt)

    def _score(self, rows: Sequence[BenchmarkRow], answers: dict[str, list[Sample]]) -> Iterator[list[Answered]]:
        """The scored answers of each row, (rows, samples)."""
        pairs = [(row, sample) for row in rows for sample in answers[row.index]]
        if not pairs:
            return
        batch = RewardBatch(
            qids=[row.index for row, _ in pairs],
            questions=[row.question for row, _ in pairs],
            references=[row.answer for row, _ in pairs],
            responses=[self.encoder.decode(sample.token_ids) for _, sample in pairs],
            response_tokens=[len(sample.token_ids) for _, sample in pairs],
            key_words=[_key_words(row) for row, _ in pairs],
            images=[row.images for row, _ in pairs],
            extra={},
        )
        raw = self.reward.reward(batch).raw
        given = [parsed.answer for parsed in batch.parsed]
        correct = self._correct([row for row, _ in pairs], given)
        scored = [
            Answered(
                response=batch.responses[i],
                sample=sample,
                given=given[i],
                correct=correct[i],
                measures={
                    "format": raw["format"][i],
                    "clip": raw["clip"][i] if self.has_clip and row.images else None,
                    "keyword": raw["keyword"][i] if batch.key_words[i] else None,
                    "no_answer": float(not given[i]),
                    "cut_off": float(sample.finish_reason == "length"),
                    "response_tokens": float(len(sample.token_ids)),
                },
            )
            for i, (row, sample) in enumerate(pairs)
        ]
        for start in range(0, len(scored), self.settings.samples):
            yield scored[start : start + self.settings.samples]

    def _correct(self, rows: Sequence[BenchmarkRow], given: Sequence[str]) -> list[float]:
        """1.0 for each right answer, 0.0 for each other."""
        rule = rule_for(self.name)
        verdicts = [
            rule(row, text) if 0 < len(text) <= MAX_ANSWER_CHARACTERS else False
            for row, text in zip(rows, given, strict=True)
        ]
        asked = [(i, verdict) for i, verdict in enumerate(verdicts) if isinstance(verdict, Comparison)]
        checked = self.checker.check(
            [c.given for _, c in asked], [c.reference for _, c in asked], [dict(c.options) for _, c in asked]
        )
        correct = [float(verdict is True) for verdict in verdicts]
        for (i, _), right in zip(asked, checked, strict=True):
            correct[i] = float(right)
        if self.judge:
            for i, row in enumerate(rows):
                if not correct[i] and given[i]:
                    correct[i] = float(self.judge.agrees(row.question, row.answer, given[i]))
        return correct

    def _record(self, row: BenchmarkRow, answered: Answered) -> dict[str, Any]:
        """An answer as a row of the answers dataset."""
        return {
            "benchmark": self.name,
            "qid": row.index,
            "question": row.question,
            "answer": row.answer,
            "category": row.category,
            "response": answered.response,
            "given": answered.given,
            "finish_reason": answered.sample.finish_reason,
            "response_tokens": len(answered.sample.token_ids),
            "correct": answered.correct,
            **{name: answered.measures[name] for name in ("format", "clip", "keyword")},
            "images": [{"bytes": data, "path": ""} for data in row.images],
        }


def _key_words(row: BenchmarkRow) -> list[str]:
    """The keywords in a row's column `key_words`, a JSON list; [] where there is none."""
    try:
        words = json.loads(row.extra.get("key_words") or "[]")
    except ValueError:
        return []
    return [str(word) for word in words] if isinstance(words, list) else []


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None
