"""The live report: of a run's folder and of a place of checkpoints, while it runs, and as a server."""

import fcntl
import json
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pebr.errors import InputError
from pebr.report.follow import serve
from pebr.report.live import CheckpointPlace, RunFolder, render_live
from pebr.training.live import Live, beside
from tests.report.conftest import history
from tests.report.test_work import Tags

SAMPLE = {
    "question": "<image>How many <b>cubes</b>?",
    "reference": "3",
    "image": "data:image/png;base64,AAAA",
    "answers": [{"text": "### <script>alert(1)</script>", "reward": 0.75, "components": {"accuracy": 1.0}}],
}


def rows_of(steps: int, **changes: Any) -> list[dict[str, Any]]:
    """The history of a stage with a validation every five training steps."""
    more = {"zero_advantage_share": 0.3, "truncated_share": 0.0, "entropy": 0.2, "loss": 0.1, "grad_norm": 1.0}
    rows = [row | more | changes for row in history("reasoning", random.Random(1))][:steps]
    for row in rows[4::5]:
        row |= {"validation/reward": 0.6, "validation/reward/accuracy": 0.5, "validation/updates": row["step"]}
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_folder(folder: Path, state: str = "running", **changes: Any) -> Path:
    """A run on this machine whose stage 2 has made 20 of 50 training steps."""
    steps = [
        {"step": "sft", "title": "SFT warm-up", "state": "done", "key": "k", "started": 1.0, "seconds": 90.0},
        {"step": "grpo", "title": "Stage 2", "state": state, "key": "k", "started": time.time(), "seconds": 0.0},
        {"step": "merge", "title": "Merge", "state": "waiting", "key": "", "started": 0.0, "seconds": 0.0},
    ]
    document = {"pipeline": "pebr-r1", "state": state, "artifacts": str(folder / "artifacts"), "steps": steps}
    (folder / "run.json").write_text(json.dumps(document))
    write(folder / "artifacts/sft/k/history", [{"step": i, "loss": 3.0 / i, "seconds": 0.1} for i in range(1, 9)])
    path = write(folder / "artifacts/grpo/k/history", rows_of(20, **changes))
    live = Live(str(folder / "artifacts/grpo/k/output.checkpoints/0123"), "GRPO, reasoning", 50, path)
    live.write(True, "to held-out questions in step 20", lambda: [SAMPLE])  # type: ignore[list-item]
    return folder


def test_the_page_of_a_running_stage(tmp_path: Path) -> None:
    html = render_live(RunFolder(run_folder(tmp_path)).read())
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {tag for tag, _, _ in tags.attributes} & {"script", "link", "iframe"}
    assert "&lt;script&gt;" in html
    assert html.index("<h2>Stage 2</h2>") < html.index("<h2>SFT warm-up</h2>")  # the running one first
    for said in (
        "Training step 20 of 50", "No alert condition holds.", 'http-equiv="refresh"', "reward 0.750", "accuracy 1.00",
        "Answers to held-out questions in step 20", "<dt>validation accuracy</dt><dd>0.500</dd>", "best reward, step 5",
    ):  # fmt: skip
        assert said in html
    assert html.count("<svg") == 11


def test_a_condition_that_holds_is_shown_in_words(tmp_path: Path) -> None:
    html = render_live(RunFolder(run_folder(tmp_path, truncated_share=0.5)).read())
    assert "<b>Stage 2</b>: 50% of the answers are cut off: raise max_response_tokens" in html
    ended = render_live(RunFolder(run_folder(tmp_path, "stopped", truncated_share=0.5)).read())
    assert "No alert condition holds." in ended
    assert "The run was stopped: the same command continues it" in ended


def test_a_run_whose_runner_was_killed_is_not_running(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "The run is running" in render_live(RunFolder(folder).read())
    html = render_live(RunFolder(folder).read())
    assert "The run was killed: the same command continues it" in html
    assert '<li class="killed"><b>Stage 2</b>' in html
    assert 'http-equiv="refresh"' in html  # it may be started again


def test_a_history_without_live_files_is_shown(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    beside(folder / "artifacts/grpo/k/history").unlink()  # as the runner does when a step ends
    assert "20 training steps" in render_live(RunFolder(folder).read())


def test_a_run_that_has_not_trained_yet(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"pipeline": "p", "state": "running", "artifacts": str(tmp_path), "steps": []})
    )
    assert "No step has trained yet." in render_live(RunFolder(tmp_path).read())


def place_of(location: str, folder: Path) -> None:
    """The live files of two runs, beside their checkpoints; the second one is running."""
    sft = Live(f"{location}/aa11", "SFT warm-up", 8, write(folder / "sft", [{"step": 1, "loss": 3.0, "seconds": 1.0}]))
    sft.write(done=True)
    Live(f"{location}/bb22", "GRPO, reasoning", 50, write(folder / "grpo", rows_of(20))).write()


def assert_shown(location: str) -> None:
    run = CheckpointPlace(location).read()
    assert [(t.title, len(t.rows), t.running) for t in run.trainings] == [
        ("GRPO, reasoning (bb22)", 20, True),
        ("SFT warm-up (aa11)", 1, False),
    ]
    assert "Training step 20 of 50" in render_live(run)


def test_the_place_of_the_checkpoints(tmp_path: Path) -> None:
    place_of(str(tmp_path / "checkpoints"), tmp_path)
    assert_shown(str(tmp_path / "checkpoints"))
    with pytest.raises(InputError, match=r"neither run.json nor \*-live/live.json is here: give the --work folder"):
        CheckpointPlace(str(tmp_path / "elsewhere")).read()


def test_a_run_on_a_cluster_that_gives_no_sign_for_long_is_not_said_to_run(tmp_path: Path) -> None:
    place_of(str(tmp_path / "checkpoints"), tmp_path)
    for path in (tmp_path / "checkpoints").glob("*-live/live.json"):
        state = json.loads(path.read_text())
        path.write_text(json.dumps(state | {"updated": state["updated"] - 86400}))
    run = CheckpointPlace(str(tmp_path / "checkpoints")).read()
    assert run.state == "silent"
    assert "has given no sign for long" in render_live(run)


@pytest.mark.s3
def test_the_checkpoints_on_s3(s3_address: str, tmp_path: Path) -> None:
    place_of("s3://pebr/live/checkpoints", tmp_path)
    assert_shown("s3://pebr/live/checkpoints/")


def test_a_store_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    Live(str(tmp_path / "file" / "run"), "GRPO", 50, write(tmp_path / "history", rows_of(1))).write()
    assert "the live report is not updated" in caplog.text


@contextmanager
def served(run: Path) -> Iterator[str]:
    server = serve(str(run), 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_it_is_served_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebr.report.follow.KEEP_SECONDS", 0.0)
    folder = run_folder(tmp_path)
    with served(folder) as address:
        assert "Training step 20 of 50" in urllib.request.urlopen(f"{address}/").read().decode()
        write(folder / "artifacts/grpo/k/history", rows_of(21))
        answer = urllib.request.urlopen(f"{address}/")
        assert "Training step 21 of 50" in answer.read().decode()
        assert answer.headers["Cache-Control"] == "no-store"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/run.json")
        run_folder(folder, "done")
        (folder / "report.html").write_text("the final report")
        assert urllib.request.urlopen(address).read() == b"the final report"


def test_no_run_is_a_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="or the value of the parameter"):
        serve(str(tmp_path), 0)
    with pytest.raises(InputError, match="elsewhere: no such folder: give the --work folder of a run"):
        serve(str(tmp_path / "elsewhere"), 0)
    with pytest.raises(InputError, match=r"--port 99999: .*give another one"):
        serve(str(run_folder(tmp_path)), 99999)
