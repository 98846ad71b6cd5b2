"""Validation on a named benchmark: a fixed part of its rows, and the accuracy that an evaluation reports."""

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pebr.answers.check import AnswerChecker
from pebr.data.benchmark import read_tsv
from pebr.errors import InputError
from pebr.grpo.benchmark import asked_rows, rule_reward
from pebr.grpo.settings import Settings
from pebr.grpo.validation import validator_of
from pebr.grpo.work import run_facts
from pebr.report.live import CheckpointPlace
from pebr.rewards.batch import RewardBatch
from pebr.rewards.stages import StageReward, Tools, build_reward
from pebr.telemetry.history import read_history
from pebr.toy.formats import write_benchmarks
from pebr.training.best import BEST, RECORD
from pebr.vlm.encoding import Encoder
from pebr.vlm.loading import load_processor
from tests.grpo.conftest import Command, finish, history
from tests.monitoring.tiny_run import TinyRun
from tests.training.resumed import files, run_with_kills

ROWS = 12


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world's benchmark, under two names."""
    folder = tmp_path_factory.mktemp("tables")
    write_benchmarks(folder, 0, ROWS)
    shutil.copy(folder / "toy.tsv", folder / "ChartQA_TEST.tsv")
    return folder


@pytest.fixture(scope="module")
def encoder(tiny_models: dict[str, Path]) -> Encoder:
    return Encoder(load_processor(str(tiny_models["qwen2_5_vl"]), 576, 802816))


def settings_of(tables: Path, **changes: Any) -> Settings:
    paths = {"model": "m", "dataset": "d", "output": "o", "history": "h", "rollouts": "r", "clip_model": "c"}
    given = {"benchmarks": str(tables), "validate_every": 2, "validate_on": "toy", "validation_questions": 5}
    return Settings(**{**paths, **given, **changes})


def test_the_same_rows_are_asked_in_any_order_of_the_table(tables: Path, encoder: Encoder, tmp_path: Path) -> None:
    asked = asked_rows(settings_of(tables), encoder)
    lines = (tables / "toy.tsv").read_text().splitlines()
    (tmp_path / "toy.tsv").write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    other = asked_rows(settings_of(tmp_path), encoder)
    assert len(asked.rows) == 5
    assert {row.index for row in asked.rows} == {row.index for row in other.rows}
    assert [question["qid"] for question in asked.questions] == [row.index for row in asked.rows]
    assert asked.questions[0]["images"][0]["bytes"] == asked.rows[0].images[0]
    everything = asked_rows(settings_of(tables, validation_questions=1000), encoder)
    assert [row.index for row in everything.rows] == [row.index for row in read_tsv(tables / "toy.tsv")]


def test_rows_that_cannot_be_asked_are_left_out(
    tables: Path, encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    csv.field_size_limit(2**30)
    with (tables / "toy.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    rows[0]["question"], rows[1]["answer"] = "Why? " * 3000, ""
    with (tmp_path / "toy.tsv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        table.writeheader()
        table.writerows(rows)
    asked = asked_rows(settings_of(tmp_path, validation_questions=ROWS), encoder)
    assert [row.index for row in asked.rows] == [row["index"] for row in rows[2:]]
    assert "validation on toy: rows that are not asked: 1 prompt too long, 1 no answer" in caplog.text
    with pytest.raises(InputError, match="no row can be asked"):
        asked_rows(settings_of(tmp_path, max_prompt_tokens=3), encoder)


def stage_reward(checker: AnswerChecker, **changes: Any) -> StageReward:
    settings = settings_of(Path(), clip_weight=0, **changes)
    return build_reward(settings, Tools(checker, len, None, 2048))


def test_the_reward_is_the_accuracy_by_the_rule(tables: Path, encoder: Encoder, checker: AnswerChecker) -> None:
    asked = asked_rows(settings_of(tables, validate_on="ChartQA_TEST", validation_questions=2), encoder)
    rows = [asked.rows[0].__class__(index=row.index, question="Q?", answer="100") for row in asked.rows]
    batch = RewardBatch(
        qids=[rows[0].index, rows[1].index, rows[0].index],
        questions=["Q?"] * 3,
        references=["100"] * 3,
        responses=[f"So the answer is {number}." for number in (104, 106, 100)],
        response_tokens=[9] * 3,
        key_words=[[]] * 3,
        images=[[]] * 3,
        extra={},
    )
    for stage, beside in (("reasoning", {"format"}), ("perception", {"format", "length"})):
        reward = rule_reward(asked._replace(rows=rows), stage_reward(checker, stage=stage, reward=""))
        scores = reward.reward(batch)
        assert scores.total == scores.raw["accuracy"] == [1.0, 0.0, 1.0]  # within 5 %, read leniently
        assert reward.components.keys() == {"accuracy", *beside}  # no keywords in these rows
        assert reward.by_sample == reward.components.keys()


def test_rows_with_keywords_measure_them(tables: Path, encoder: Encoder, checker: AnswerChecker) -> None:
    asked = asked_rows(settings_of(tables), encoder)
    assert all(question["key_words"] for question in asked.questions)
    assert "keyword" in rule_reward(asked, stage_reward(checker, stage="perception")).components


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"validate_every": 0}, "--validate-on toy: it is never asked, give --validate-every too"),
        ({"benchmarks": ""}, "--validate-on toy: it is never asked, give --benchmarks too"),
    ],
)
def test_a_benchmark_that_is_never_asked_is_refused(tables: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings_of(tables, **changes)


def test_an_unknown_benchmark_and_an_unknown_score_are_refused(
    tables: Path, encoder: Encoder, checker: AnswerChecker
) -> None:
    with pytest.raises(InputError, match=r"no MMStar.tsv here: --validate-on takes one of ChartQA_TEST, toy"):
        asked_rows(settings_of(tables, validate_on="MMStar"), encoder)
    settings = settings_of(tables, best_by="kindness")
    collector = SimpleNamespace(reward=stage_reward(checker))
    with pytest.raises(InputError, match="--best-by kindness: give reward, accuracy, format"):
        validator_of(settings, collector, [], asked_rows(settings, encoder))  # type: ignore[arg-type]


def test_only_the_benchmark_that_is_asked_names_the_run(tables: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    shutil.copytree(tables, folder)

    def facts(**changes: Any) -> dict[str, object]:
        return run_facts(settings_of(folder, **changes))

    without = {"validate_on": "", "validate_every": 0}
    one, none = facts(), facts(**without)
    (folder / "MMStar.tsv").write_text("index\tquestion\tanswer\n")
    assert (facts(), facts(**without)) == (one, none)
    (folder / "toy.tsv").write_text((folder / "toy.tsv").read_text().replace("category", "kind"))
    assert facts(**without) == none
    assert facts() != one


SETTINGS: dict[str, Any] = {"samples": 2, "epochs": 30, "keep_checkpoints": 1}
ASKING: dict[str, Any] = {"validate_every": 2, "validate_on": "toy", "validation_questions": 6}
ASKING |= {"validation_temperature": 0.7, "validation_samples": 2}
STAGE = ("pebr.grpo.settings", "pebr.grpo.work")


def training(folder: Path) -> list[dict[str, float]]:
    """A history without validations."""
    return [{k: v for k, v in row.items() if not k.startswith("validat")} for row in history(folder)]


def all_files(folder: Path) -> dict[str, bytes]:
    """The files of a stage's weights and rollouts, without those of the best weights."""
    return {k: v for name in ("weights", "rollouts") for k, v in files(folder / name, [BEST, RECORD]).items()}


@pytest.fixture(scope="module")
def whole(command: Command, tables: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The folder of a run that validates on the benchmark, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = command(folder, **SETTINGS, **ASKING, benchmarks=tables)
    return folder, run_with_kills(*STAGE, arguments[3:], 0)


@pytest.mark.slow
def test_a_benchmark_changes_neither_samples_nor_weights(
    command: Command, tables: Path, whole: tuple[Path, float], tmp_path: Path
) -> None:
    asking, _ = whole
    finish(command(tmp_path, **SETTINGS))
    assert training(asking) == training(tmp_path)  # nothing is held out
    assert all_files(asking) == all_files(tmp_path)
    assert [row.get("validated_on") for row in history(asking)] == [None, "toy", "toy"]
    [live] = CheckpointPlace(str(asking / "weights.checkpoints")).read().trainings
    assert live.shown["sampled"] == "to questions of toy in step 3"
    questions = {row.question for row in read_tsv(tables / "toy.tsv")}
    assert {question["question"] for question in live.shown["sample"]} <= questions


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_run_resumes_around_validations_on_a_benchmark(
    command: Command, tables: Path, whole: tuple[Path, float], tmp_path: Path
) -> None:
    uninterrupted, seconds = whole
    arguments = command(tmp_path, **SETTINGS, **ASKING, benchmarks=tables)
    run_with_kills(*STAGE, arguments[3:], 8, seconds / 2)
    assert history(tmp_path) == history(uninterrupted)
    assert all_files(tmp_path) == all_files(uninterrupted)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_last_validation_has_the_scores_of_an_evaluation(tmp_path: Path) -> None:
    run = TinyRun(tmp_path / "run")
    write_benchmarks(run.folder / "benchmarks", 0, 100)  # of which the model has a few right
    for step in ("filter", "sft"):
        run.run(step)
    asking = {"validate_every": 3, "validate_on": "toy", "benchmarks": run.folder / "benchmarks"}
    run.run("grpo", max_steps=3, questions_per_step=2, questions_per_update=2, validation_questions=1000, **asking)
    run.run("merge", checkpoint=run.folder / "grpo" / "weights")
    run.run("evaluate", model=run.folder / "merge", clip_model=run.folder / "clip")
    last = read_history(run.folder / "grpo" / "history.jsonl")[-1]
    scores = json.loads((run.folder / "evaluate" / "scores.json").read_text())["benchmarks"]["toy"]
    assert 0 < scores["accuracy"] < 1
    assert last["validation/reward"] == last["validation/reward/accuracy"] == pytest.approx(scores["accuracy"])
    for name in ("format", "keyword", "clip"):
        assert last[f"validation/reward/{name}"] == pytest.approx(scores[name], abs=1e-6), name
    assert last["validation/response_tokens"] == pytest.approx(scores["response_tokens"])
