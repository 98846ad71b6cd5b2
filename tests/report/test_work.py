"""The report: complete, self-contained, with the right numbers, the same for the same run."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pebr.errors import InputError
from pebr.report import dag
from pebr.report.examples import Answer, choose
from pebr.report.findings import gather
from pebr.report.settings import Settings
from pebr.report.work import work
from pipelines.ir.plan import FirstOf, Output
from pipelines.ir.reader import Pipeline


class Tags(HTMLParser):
    """Check that tags are closed in order, and collect every attribute."""

    VOID = frozenset({"meta", "img", "br", "line", "path", "rect", "circle"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def page(settings: Settings) -> str:
    work(settings)
    return Path(settings.output).read_text()


def test_the_page_is_well_formed_and_needs_nothing_from_outside(made_up: Settings) -> None:
    html = page(made_up)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    links = [(tag, value) for tag, name, value in tags.attributes if name in ("src", "href", "action", "data")]
    assert links
    assert all(value.startswith("data:image/png;base64,") for _, value in links)
    assert not {tag for tag, _, _ in tags.attributes} & {"script", "link", "iframe"}
    assert "url(" not in html
    assert "@import" not in html


def test_every_picture_of_numbers_is_valid_xml_and_says_what_it_shows(made_up: Settings) -> None:
    charts = re.findall(r"<svg.*?</svg>", page(made_up), flags=re.DOTALL)
    assert len(charts) > 15
    for chart in charts:
        assert ElementTree.fromstring(chart).attrib["aria-label"]
        assert "nan" not in chart


def test_each_rewards_shares_and_spread_are_shown(made_up: Settings) -> None:
    html = page(made_up)
    assert html.count("<th>spread in groups</th>") == html.count("<figcaption>rewards</figcaption>")
    row = html[html.index("<tr><td>keyword</td>") :].split("</tr>")[0]
    assert row.count("<td>") == 5
    assert "0.096" in row  # the spread in the last tenth
    assert "12.5" in html[html.index("of the descriptions are longer") - 40 :][:40]


def test_the_same_run_gives_the_same_page(made_up: Settings) -> None:
    assert page(made_up) == page(made_up)


def test_the_numbers_are_those_of_the_evaluations(made_up: Settings) -> None:
    html = page(made_up)
    for model in ("warmup", "perception", "reasoning", "ablation"):
        scores = json.loads(
            (Path(made_up.warmup_evaluation).parent / f"{model}_evaluation" / "scores.json").read_text()
        )
        assert f"{100 * scores['accuracy']:.1f} %" in html
        for group in scores["benchmarks"]["toy"]["by"]["category"].values():
            assert f"{100 * group['accuracy']:.1f} %" in html
    for text in ("1,980", "2,100", "image cannot be read", "168", "291", "141"):
        assert text in html


def test_without_the_ablation_nothing_of_it_is_read_or_shown(made_up: Settings) -> None:
    settings = dataclasses.replace(
        made_up, ablation=False, ablation_metrics="/none", ablation_history="/none", ablation_evaluation="/none",
        ablation_merge_metrics="/none", ablation_evaluation_metrics="/none",
    )  # fmt: skip
    assert "ablation" not in page(settings).lower()


def test_measured_once_nothing_of_a_second_rollout_is_read_or_shown(made_up: Settings) -> None:
    html = page(dataclasses.replace(made_up, remeasured_rollout_metrics="/none", remeasured_split_metrics="/none"))
    assert html.count("<b>Difficulty") == 1
    assert html.count(">rollout</text>") == html.count(">split</text>") == 1


def test_measured_again_both_difficulties_are_shown_and_stage_2_reads_the_second(made_up: Settings) -> None:
    once, html = page(made_up), page(dataclasses.replace(made_up, remeasure=True))
    assert html.count("<b>Difficulty") == 2
    assert ">304</b>medium" in html[html.index("Difficulty for stage 2") :]
    assert html.count(">rollout</text>") == html.count(">split</text>") == 2
    # Two boxes and three lines more, and the line from the first split to stage 2 less.
    assert html.count('class="box"') == once.count('class="box"') + 2
    assert html.count('class="edge"') == once.count('class="edge"') + 2


def test_text_from_outside_cannot_become_markup(made_up: Settings) -> None:
    html = page(dataclasses.replace(made_up, title="<b onclick='x'>1 & 2</b>"))
    assert "<b onclick" not in html
    assert "&lt;b onclick" in html


def test_examples_show_what_was_learned_what_was_lost_and_what_is_still_wrong(made_up: Settings) -> None:
    models = gather(made_up).models
    verdicts = [example.verdict for example in choose(models, 6, seed=0)]
    assert verdicts == ["learned"] * 4 + ["lost", "still wrong"]
    learned = choose(models, 6, seed=0)[:4]
    assert len({example.category for example in learned}) == 4
    assert [example.question for example in choose(models, 6, seed=0)] != [
        e.question for e in choose(models, 6, seed=1)
    ]
    assert choose(models, 0, seed=0) == []


@pytest.mark.parametrize("name", ["sft_metrics", "warmup_evaluation"])
def test_a_missing_file_is_reported_in_one_line(made_up: Settings, name: str) -> None:
    with pytest.raises(InputError, match="/none") as caught:
        work(dataclasses.replace(made_up, **{name: "/none"}))
    assert "\n" not in str(caught.value)
    assert not Path(made_up.output).exists()


def test_a_broken_file_is_reported(made_up: Settings) -> None:
    Path(made_up.split_metrics).write_text('{"easy": 1')
    with pytest.raises(InputError, match=r"split_metrics: not JSON"):
        work(made_up)


def test_the_command_writes_page_and_metrics(made_up: Settings, tmp_path: Path) -> None:
    settings = dataclasses.replace(made_up, metrics=str(tmp_path / "metrics.json"))
    given = dataclasses.asdict(settings)
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    subprocess.run([sys.executable, "-m", "pebr.report", *words], check=True, capture_output=True)
    assert json.loads((tmp_path / "metrics.json").read_text())["examples"] == 6


def test_refused_updates_leave_a_gap_and_are_shown(made_up: Settings) -> None:
    history = Path(made_up.sft_history)
    lines = history.read_text().splitlines()
    lines[3] = json.dumps({"step": 4, "loss": None})
    lines[-1] = json.dumps({"step": 120, "loss": math.nan})
    history.write_text("\n".join(lines) + "\n")
    metrics = Path(made_up.sft_metrics)
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"refused_steps": 2}))
    html = page(made_up)
    assert "2 of them refused" in html
    (chart,) = re.findall(r"<svg[^>]*Loss of the warm-up.*?</svg>", html, flags=re.DOTALL)
    assert "nan" not in chart
    assert [line.count("L") for line in re.findall(r'class="raw[^"]*" d="(.*?)"', chart)] == [117]


def test_rows_that_an_evaluation_rejected_are_shown(made_up: Settings) -> None:
    path = Path(made_up.warmup_evaluation) / "scores.json"
    scores = json.loads(path.read_text())
    scores["benchmarks"]["toy"]["set_aside"] = {"image is not base64": 3}
    path.write_text(json.dumps(scores))
    assert "Rejected: image is not base64 (3)." in page(made_up)


def test_a_measure_that_a_model_lacks_is_a_dash(made_up: Settings) -> None:
    for model in ("warmup", "perception", "reasoning", "ablation"):
        path = Path(made_up.warmup_evaluation).parent / f"{model}_evaluation" / "scores.json"
        scores = json.loads(path.read_text())
        del scores["keyword"]
        if model != "warmup":
            del scores["clip"]
        path.write_text(json.dumps(scores))
    html = page(made_up)
    assert "Keyword reward" not in html
    assert html.count("&ndash;") == 3


def test_the_headers_of_an_answer_are_those_that_the_parser_finds() -> None:
    response = "### Image Description: a cat\n### not a section of ours\n#### deeper\n ### **Step 1**\nso ### said\n\n7"
    answer = Answer("m", "s1", response, "7", correct=True)
    assert [heads for _, heads in answer.lines] == [True, True, False, True, False, False, False]


def step_name(title: str) -> str:
    """The name of a step in the report, from its display name in the pipeline."""
    words = title.lower().replace("ingest ", "").replace(", remeasured", "").split()
    names = {
        "filter": lambda rest: f"{rest[0]}_filter",
        "merge": lambda rest: f"{STAGES[rest[-1]]}_merge",
        "evaluate": lambda rest: f"{STAGES[rest[-1]]}_evaluation",
        "stage": lambda rest: STAGES[rest[0].strip(":")],
        "ablation:": lambda rest: "ablation",
        "sft": lambda rest: "sft" if rest == ["warm-up"] else "sft_data",
        "rollout": lambda rest: "remeasured_rollout" if rest else "rollout",
        "split": lambda rest: "remeasured_split" if rest == ["for", "stage", "2"] else "split",
    }
    return names[words[0]](words[1:]) if words[0] in names else "_".join(words)


STAGES = {"1": "perception", "2": "reasoning", "ablation": "ablation", "warm-up": "warmup"}


def test_the_lines_of_the_dag_are_the_pipelines() -> None:
    pipeline = Pipeline(Path(__file__).parents[2] / "pipelines" / "compiled" / "pebr_r1.yaml")
    steps = {step.id: step for step in pipeline.plan({"ablation": True})}
    read = {
        (step_name(steps[source.step].title), step_name(step.title), source.name)
        for step in steps.values()
        for artifact in step.artifacts.values()
        for source in (artifact.sources if isinstance(artifact, FirstOf) else [artifact])
        if isinstance(source, Output)
    }
    lines = {(a, b) for a, b, name in read if name not in ("metrics", "history")}
    assert len(set(dag.EDGES)) == len(dag.EDGES)
    assert set(dag.EDGES) | set(dag.NOT_DRAWN) == lines
    assert not set(dag.EDGES) & set(dag.NOT_DRAWN)


def test_no_line_of_the_dag_runs_through_a_box() -> None:
    for start, end in dag.EDGES:
        a, b = dag.SPOTS[start], dag.SPOTS[end]
        row, column = (b.row, a.column) if (start, end) in dag.DOWN_FIRST else (a.row, b.column)
        rows = range(min(a.row, b.row), max(a.row, b.row) + 1)
        crossed = [
            spot
            for spot in dag.SPOTS.values()
            if spot not in (a, b)
            and (
                (spot.row == row and a.column < spot.column < b.column)
                or (spot.column == column and spot.row in rows)
                or (spot.row, spot.column) == (row, column)
            )
        ]
        assert not crossed, (start, end)


def test_boxes_of_the_dag_do_not_share_a_place() -> None:
    places = [(spot.column, spot.row) for spot in dag.SPOTS.values()]
    assert len(set(places)) == len(places)


def test_validations_and_an_early_stop_are_shown(made_up: Settings) -> None:
    for name, key in (("sft", "validation/loss"), ("reasoning", "validation/reward/accuracy")):
        path = Path(getattr(made_up, f"{name}_history"))
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows[19][key], rows[39][key], rows[-1]["stopped"] = 0.75, 0.625, "it is <enough>"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = page(made_up)
    assert ">validation 0.62<" in html
    assert html.count("held-out questions during training") == 1
    assert ">accuracy 0.625<" in html
    assert "Stopped early: it is &lt;enough&gt;." in html
