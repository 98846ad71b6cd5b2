"""Three weeks of a loop in the tiny world, on this machine: good data, spoiled data, good data.

About three minutes on one core, most of it training and the start of Python in 16 steps.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pebr.toy.clip import train_clip
from pebr.toy.formats import write_benchmarks, write_sft
from pipelines import submit
from tests.pipelines.publishing.weekly_dag import compiled

HEADER = "### The final answer is:\n"


def deliver(inbox: Path, name: str, seed: int, spoiled: bool = False) -> None:
    """New data of a week. Spoiled: the teacher was away, so every answer is "unknown"."""
    write_sft(inbox / name, seed, rows=360)
    table = inbox / name / "mulberry_sft.json"
    rows = json.loads(table.read_text())
    for row in rows if spoiled else ():
        answer = row["messages"][1]
        answer["content"] = answer["content"].partition(HEADER)[0] + HEADER + "unknown"
    table.write_text(json.dumps(rows))


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the weekly command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEBR_REVISION", "4cb250a1c0ffee")
    write_benchmarks(tmp_path / "benchmarks", seed=0, rows=132)
    clip = train_clip(tmp_path / "clip", seed=0, steps=2)
    recipe = {"benchmarks_source": str(tmp_path / "benchmarks"), "clip_source": str(clip)}
    (tmp_path / "weekly.yaml").write_text(yaml.safe_dump({"parameters": recipe}))
    dag = compiled(tmp_path / "dag.yaml")
    command = ["--to", "local", "--pipeline", str(dag), "--recipe", "weekly.yaml", "--poll", "0.2"]
    command += ["--publish", "published", "--base", "published", "--batches", f"sft_source={tmp_path / 'inbox'}"]
    command += ["--gate", "paired:accuracy>=-0.1", "--keep", "1"]
    return lambda *more: submit.main([*command, *more])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_week_of_spoiled_data_is_held_back_and_the_next_week_goes_on_from_the_last_good_one(
    week: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")
    inbox, published = tmp_path / "inbox", tmp_path / "published"
    deliver(inbox, "week-1", seed=1)
    assert week("--plan", "--set", "steps=150") == 0
    assert "no earlier run is known here" in capsys.readouterr().out
    assert week("--set", "steps=150") == 0
    first = json.loads((published / "latest.json").read_text())
    assert first["batches"] == {"sft_source": [f"{inbox}/week-1"]}
    assert first["scores"]["accuracy"] > 0.15
    assert week() == 0  # no new batch: no new run
    assert "no batch is new" in caplog.text

    deliver(inbox, "week-2", seed=2, spoiled=True)
    assert week("--set", "steps=60", "--summary", "page.md") == 3
    assert json.loads((published / "latest.json").read_text()) == first
    (held,) = (published / "held").glob("*.json")
    (reason,) = json.loads(held.read_text())["reasons"]
    assert reason["gate"] == "paired:accuracy>=-0.1"
    assert reason["score"] < -0.1
    assert "over the same 132 questions: difference -" in reason["note"]
    assert reason["note"] in (tmp_path / "page.md").read_text()

    deliver(inbox, "week-3", seed=3)
    capsys.readouterr()
    assert week("--plan", "--set", "steps=60") == 0
    plan = capsys.readouterr().out
    assert "ingest-benchmarks" in plan
    assert "720 rows" in plan  # 60 steps of 12 rows
    assert "cannot be estimated" not in plan
    assert week("--set", "steps=60") == 0
    third = json.loads((published / "latest.json").read_text())
    assert third["batches"] == {"sft_source": [f"{inbox}/week-1", f"{inbox}/week-3"]}
    assert third["parameters"]["sft_source"] == f"{inbox}/week-3"
    assert third["parameters"]["model_source"] == first["model"]
    assert f"left out: {inbox}/week-2" in caplog.text
    assert not Path(first["model"]).exists()  # one version is kept
    assert Path(third["model"], "model.safetensors").is_file()
    assert [path.name for path in published.glob("*.json") if path.name != "latest.json"] == [f"{third['run']}.json"]
