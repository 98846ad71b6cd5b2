"""Submitting to Kubeflow over HTTP: idempotence, faults, waiting, gates, publishing, exit codes."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from pebr.files import sha256
from pipelines import submit
from pipelines.targets import retrying
from tests.pipelines.publishing.model_registry import ModelRegistry
from tests.pipelines.servers import Kubeflow, serving

SCORES = {"evaluate": {"accuracy": 0.4}, "evaluate-2": {"accuracy": 0.5}, "evaluate-3": {"accuracy": 0.62, "clip": 0.7}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0.001)
    for name in ("KFP_TOKEN", "KFP_HOST", "PEBR_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PEBR_REVISION", "4cb250a1c0ffee")


@pytest.fixture
def kubeflow(tmp_path: Path) -> Iterator[Kubeflow]:
    """A Kubeflow whose runs leave scores and a model where their pipeline root says."""
    server = Kubeflow()

    def leave_artifacts(run: Any) -> None:
        root = run.runtime_config.pipeline_root
        if not root:
            return
        for task, scores in SCORES.items():
            folder = Path(root) / "pebr-r1" / run.run_id / task / "0a1b-2c3d"
            folder.mkdir(parents=True)
            (folder / "metrics").write_text(json.dumps(scores))
        model = Path(root) / "pebr-r1" / run.run_id / "merge-2" / "4e5f" / "output"
        model.mkdir(parents=True)
        (model / "model.safetensors").write_text("weights")
        (model / "chat_template.jinja").write_text("{{ messages[0].content[0].text }}")
        (model / "prompt.txt").write_text("Look closely: {question}")
        (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# The base model")
        for task in ("filter", "filter-2"):
            rows = Path(root) / "pebr-r1" / run.run_id / task / "6b7c" / "output"
            rows.mkdir(parents=True)
            (rows / "manifest.json").write_text(json.dumps({"rows": 12, "kind": task}))

    server.when_started = leave_artifacts
    with serving(server):
        yield server


@pytest.fixture
def send(kubeflow: Kubeflow) -> Callable[..., int]:
    """Run the command line against the server."""
    return lambda *more: submit.main(["--to", "kfp", "--host", kubeflow.address, "--poll", "0.001", *map(str, more)])


def created(server: Kubeflow) -> int:
    return server.requests.count("POST /apis/v2beta1/runs")


def test_a_run_gets_the_pipeline_its_parameters_and_a_name(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    assert send("--recipe", "toy", "--set", "seed=7", "--image", "registry/pebr@sha256:" + "12" * 32) == 0
    (run,) = kubeflow.runs
    assert run.display_name.startswith("pebr-r1-toy-4cb250a1c0-")
    assert len(run.display_name) < 64
    parameters = run.runtime_config.parameters
    assert parameters["seed"] == 7
    assert parameters["sft_source"] == "toy://sft,toy://pebr"
    document = run.pipeline_spec["pipeline_spec"]
    assert {e["container"]["image"] for e in document["deploymentSpec"]["executors"].values()} == {
        "registry/pebr@sha256:" + "12" * 32
    }
    assert "kubernetes" in run.pipeline_spec["platform_spec"]["platforms"]
    assert kubeflow.experiments[0].display_name == "pebr"


def test_what_is_read_from_a_run_is_never_taken_from_the_cache(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    send()
    document = kubeflow.runs[0].pipeline_spec["pipeline_spec"]
    tasks = {
        name: task
        for component in [document["root"], *document["components"].values()]
        for name, task in component.get("dag", {}).get("tasks", {}).items()
        if "cachingOptions" in task
    }
    assert {name for name, task in tasks.items() if not task["cachingOptions"]} == {
        "merge-2",
        *(f"evaluate{i}" for i in ("", "-2", "-3", "-4")),
    }


def test_the_same_run_is_started_once(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    assert [send("--wait"), send("--wait"), send()] == [0, 0, 0]
    assert created(kubeflow) == 1


@pytest.mark.parametrize("change", [["--set", "seed=1"], ["--image", "other:1"], ["--occasion", "sunday"]])
def test_another_run_is_another_run(kubeflow: Kubeflow, send: Callable[..., int], change: list[str]) -> None:
    assert [send(), send(*change)] == [0, 0]
    assert len({run.display_name for run in kubeflow.runs}) == 2


def test_a_failed_run_is_started_anew_under_its_name(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    kubeflow.script = ["RUNNING", "FAILED"]
    assert send("--wait") == 1
    kubeflow.script = ["SUCCEEDED"]
    assert send("--wait") == 0
    assert created(kubeflow) == 2
    assert len({run.display_name for run in kubeflow.runs}) == 1


@pytest.mark.parametrize("fault", ["drop", "drop-after", 500, 503, 429])
@pytest.mark.parametrize("at", range(6))
def test_a_fault_at_any_request_changes_nothing(
    kubeflow: Kubeflow, send: Callable[..., int], fault: Any, at: int
) -> None:
    kubeflow.faults = [""] * at + [fault]
    assert send("--wait") == 0
    assert len(kubeflow.runs) == 1
    assert len(kubeflow.experiments) == 1
    assert not kubeflow.faults


def test_an_experiment_that_somebody_else_makes_meanwhile_is_used(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    import kfp_server_api as api

    first = kubeflow.answer
    theirs = api.V2beta1Experiment(experiment_id="theirs", display_name="pebr")

    def answer(method: str, path: str, query: dict, body: Any) -> Any:
        if method == "POST" and path.endswith("experiments"):
            kubeflow.experiments = [theirs]
        return first(method, path, query, body)

    kubeflow.answer = answer
    assert send() == 0
    assert kubeflow.runs[0].experiment_id == "theirs"


@pytest.mark.parametrize(
    ("fault", "remedy"), [(401, "set KFP_TOKEN"), (403, "ask for a role"), (404, "fix --host"), (400, "a fault: 400")]
)
def test_a_refusal_ends_at_once_with_the_remedy(
    kubeflow: Kubeflow, send: Callable[..., int], caplog: pytest.LogCaptureFixture, fault: int, remedy: str
) -> None:
    kubeflow.faults = [fault]
    assert send("--wait") == 4
    assert remedy in caplog.text
    assert len(kubeflow.requests) == 1


def test_a_server_that_stays_broken_is_given_up(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    kubeflow.faults = [500] * 100
    assert send() == 4
    assert len(kubeflow.requests) == retrying.TRIES


def test_a_defect_of_ours_is_not_taken_for_a_failed_run(
    send: Callable[..., int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(submit, "run_name", lambda *_: {}["no such key"])
    assert send() == submit.EXIT_DEFECT
    assert "defect" in caplog.text
    assert "KeyError: 'no such key'" in caplog.text


def test_no_server_is_cannot_reach(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert submit.main(["--to", "kfp", "--host", address]) == 4
    assert address in caplog.text


def test_the_token_goes_along(kubeflow: Kubeflow, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    kubeflow.token = "secret"
    assert send() == 4
    monkeypatch.setenv("KFP_TOKEN", "secret")
    assert send() == 0


def test_a_token_that_is_renewed_while_a_run_goes_on_is_read_again(
    kubeflow: Kubeflow, send: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr("pipelines.targets.kubeflow.TOKEN_FILE", str(tmp_path / "token"))
    kubeflow.token = "first"

    def renew(run: Any) -> None:
        kubeflow.token = "second"
        (tmp_path / "token").write_text("second\n")

    kubeflow.when_started = renew
    assert send("--wait") == 0


def test_waiting_outlasts_an_outage(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    kubeflow.faults = [""] * 4 + [503] * (2 * retrying.TRIES + 1)
    assert send("--wait") == 0
    assert not kubeflow.faults


def test_a_run_that_fails_half_way_says_where(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    kubeflow.script = ["PENDING", "RUNNING", "FAILED"]
    assert send("--gate", "accuracy>=0", "--artifacts", tmp_path / "a", "--summary", tmp_path / "page.md") == 1
    page = (tmp_path / "page.md").read_text()
    assert ": failed" in page
    assert "task evaluate-3 failed" in page
    assert "| evaluate-stage-2 | failed |" in page
    assert "running" in caplog.text


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        (["accuracy>=0.6"], 0),
        (["accuracy>=0.63"], 3),
        (["accuracy>=0.6", "clip>0.7"], 3),
        (["accuracy>evaluate-warm-up:accuracy", "evaluate-stage-1:accuracy<0.6"], 0),
        (["f1>0.5"], 2),
    ],
)
def test_gates_decide_the_exit_code(send: Callable[..., int], tmp_path: Path, gates: list[str], code: int) -> None:
    words = [word for gate in gates for word in ("--gate", gate)]
    assert send("--artifacts", tmp_path / "store", "--summary", tmp_path / "page.md", *words) == code
    page = (tmp_path / "page.md").read_text()  # also where a gate names no score
    assert ": succeeded" in page
    assert "| accuracy | 0.4 | 0.5 | 0.62 |" in page
    assert page.count("**failed**") == (1 if code == 3 else 0)


def test_what_passes_is_published_and_is_the_bound_of_the_next(send: Callable[..., int], tmp_path: Path) -> None:
    store, published = tmp_path / "store", tmp_path / "published"
    gates = ["--artifacts", store, "--publish", published, "--gate", "accuracy>=published-0.01"]
    assert send(*gates) == 0  # nothing was published: nothing to fall behind
    first = json.loads((published / "latest.json").read_text())
    assert first["scores"] == SCORES["evaluate-3"]
    assert first["commit"] == "4cb250a1c0ffee"
    assert (Path(first["model"]) / "model.safetensors").read_text() == "weights"
    SCORES["evaluate-3"]["accuracy"] = 0.5
    try:
        assert send(*gates, "--set", "seed=2") == 3
    finally:
        SCORES["evaluate-3"]["accuracy"] = 0.62
    assert json.loads((published / "latest.json").read_text()) == first
    assert send(*gates, "--set", "seed=3") == 0
    assert len(list(published.glob("pebr-r1-*.json"))) == 2


def test_a_published_model_has_a_card_and_a_template_for_a_server(send: Callable[..., int], tmp_path: Path) -> None:
    store, published = tmp_path / "store", tmp_path / "published"
    gates = ["--gate", "accuracy>=0.6", "--gate", "accuracy>=published"]
    options = ["--artifacts", store, "--publish", published, *gates, "--set", "learning_rate=1e-4"]
    assert send(*options) == 0
    assert send(*options, "--occasion", "again") == 0
    model = Path(json.loads((published / "latest.json").read_text())["model"])
    card = ModelCard.load(model / "README.md")  # as the hub reads it
    assert card.data.license == "apache-2.0"  # of the base model
    assert card.data.pipeline_tag == "image-text-to-text"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == SCORES["evaluate-3"]
    for fact in (
        "| code revision | `4cb250a1c0ffee` |",
        "| | evaluate-warm-up | evaluate-stage-1 | published before | **evaluate-stage-2** |",
        "| accuracy | 0.4 | 0.5 | 0.62 | 0.62 |",
        "| `accuracy>=0.6` | 0.62 | 0.6 |",
        "| learning_rate | `0.0001` |",
        "\n```text\nLook closely: {question}\n```\n",
    ):
        assert fact in card.text
    rows = model.parents[2] / "filter" / "6b7c" / "output" / "manifest.json"
    assert f"| SFT data | `toy://sft,toy://pebr` | 12 | `{sha256(rows)}` |" in card.text
    assert "Look closely: " in (model / "serving_template.jinja").read_text()


def test_a_model_without_a_chat_template_is_not_published(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_all = kubeflow.when_started

    def leave_no_template(run: Any) -> None:
        leave_all(run)
        next(Path(run.runtime_config.pipeline_root).glob("*/*/merge-2/*/output/chat_template.jinja")).unlink()

    kubeflow.when_started = leave_no_template
    assert send("--artifacts", tmp_path / "store", "--publish", tmp_path / "published") == 4
    assert "the model: no chat template" in caplog.text
    assert not (tmp_path / "published").exists()


def test_a_published_model_is_registered(send: Callable[..., int], tmp_path: Path) -> None:
    with serving(ModelRegistry()) as registry:
        published = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published"]
        assert send(*published, "--registry", registry.address) == 0
    (version,) = registry.kept["model_version"]
    (files,) = registry.kept["model_artifact"]
    record = json.loads((tmp_path / "published" / "latest.json").read_text())
    assert (version["name"], files["uri"]) == (record["run"], record["model"])


@pytest.mark.parametrize(
    "options",
    [
        ["--push", "hf://a/b"],
        ["--registry", "http://x"],
        ["--publish", "/p", "--push", "a/b"],
        ["--publish", "/p", "--push", "oci://registry"],
        ["--publish", "/p", "--registry", "x"],
    ],
)
def test_wrong_options_of_publishing_are_refused_before_anything_runs(
    kubeflow: Kubeflow, send: Callable[..., int], options: list[str]
) -> None:
    assert send("--artifacts", "/tmp/x", *options) == 2
    assert not kubeflow.requests


def test_a_run_without_a_model_is_not_published(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_all = kubeflow.when_started

    def leave_no_model(run: Any) -> None:
        leave_all(run)
        shutil.rmtree(Path(run.runtime_config.pipeline_root) / "pebr-r1" / run.run_id / "merge-2")

    kubeflow.when_started = leave_no_model
    assert send("--artifacts", tmp_path / "store", "--publish", tmp_path / "published") == 4
    assert "no model of merge-stage-2" in caplog.text
    assert not (tmp_path / "published").exists()


@pytest.mark.parametrize("text", ["{", '{"run": "x"}', '{"scores": {"accuracy": "high"}}', "[]"])
def test_a_broken_record_of_what_was_published_is_told(
    send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "latest.json").write_text(text)
    options = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published"]
    assert send(*options, "--gate", "accuracy>=published") == 2
    assert "published/latest.json: it names no scores" in caplog.text


def test_a_summary_that_cannot_be_written_is_told(
    send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert send("--wait", "--summary", tmp_path / "nowhere" / "page.md") == 2
    assert "nowhere/page.md: No such file or directory" in caplog.text


def test_a_gate_on_what_was_published_needs_a_place_for_it(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    assert send("--artifacts", "/tmp/x", "--gate", "accuracy>=published-0.01") == 2
    assert not kubeflow.requests


def test_gates_without_artifacts_are_refused_before_anything_runs(kubeflow: Kubeflow, send: Callable[..., int]) -> None:
    assert send("--gate", "accuracy>=0.6") == 2
    assert send("--gate", "accuracy is good", "--artifacts", "/tmp/x") == 2
    assert not kubeflow.requests


@pytest.mark.parametrize("gate", ["evaluate-stage-3:accuracy>=0.6", "accuracy>merge-stage-2:accuracy"])
def test_a_gate_that_names_no_evaluation_is_refused_before_anything_runs(
    kubeflow: Kubeflow, send: Callable[..., int], caplog: pytest.LogCaptureFixture, gate: str
) -> None:
    assert send("--gate", gate, "--artifacts", "/tmp/x") == 2
    known = "evaluate-warm-up, evaluate-stage-1, evaluate-stage-2"
    assert f"is no evaluation of this run: give one of {known}\n" in caplog.text
    assert not kubeflow.requests


@pytest.mark.parametrize(("ablation", "code"), [("false", 2), ("true", 3)])
def test_a_gate_on_an_evaluation_that_a_condition_leaves_out_is_refused(
    send: Callable[..., int], tmp_path: Path, ablation: str, code: int
) -> None:
    SCORES["evaluate-4"] = {"accuracy": 0.4}
    gate = ["--gate", "evaluate-ablation:accuracy>0.5", "--artifacts", tmp_path]
    try:
        assert send(*gate, "--set", f"ablation={ablation}") == code
    finally:
        del SCORES["evaluate-4"]


def test_an_image_that_nobody_has_pushed_is_refused(send: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    assert send("--pipeline", submit.COMPILED / "gpu" / "pebr_r1.yaml") == 2
    assert "give --image" in caplog.text


GPU = ["--pipeline", submit.COMPILED / "gpu" / "pebr_r1.yaml", "--image", "registry/pebr@sha256:" + "12" * 32]
SOURCES = [f"--set={name}_source=s3://data/{name}" for name in ("sft", "rl", "benchmarks", "clip")]


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        (["--recipe", "7b", *SOURCES], 0),
        (["--recipe", "7b", *SOURCES, "--set", "checkpoints="], 1),
        (["--recipe", "3b", *SOURCES, "--set", "checkpoints=/tmp/here", "--set", "save_minutes=0"], 2),
        (["--recipe", "toy"], 2),
    ],
)
def test_a_gpu_run_that_would_lose_its_work_on_kubeflow_is_warned_of(
    send: Callable[..., int], caplog: pytest.LogCaptureFixture, more: list[str], warnings: int
) -> None:
    assert send(*GPU, *more) == 0
    told = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(told) == warnings
    assert warnings < 2 or ("checkpoints=s3://" in told[0] and "save_minutes" in told[1])


def test_a_run_without_gpus_is_warned_of_nothing(send: Callable[..., int], caplog: pytest.LogCaptureFixture) -> None:
    assert send() == 0
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def test_a_plan_submits_nothing_and_is_estimated_from_published_runs(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published"]
    assert send(*place, "--plan") == 0
    assert "no earlier run is known here" in capsys.readouterr().out
    assert not kubeflow.requests
    assert send(*place) == 0
    capsys.readouterr()
    before = list(kubeflow.requests)
    assert send(*place, "--plan", "--occasion", "monday", "--batches", f"rl_source={tmp_path / 'store'}") == 0
    text = capsys.readouterr().out
    assert "evaluate-stage-2" in text
    assert "cannot be estimated, no earlier run tells: ingest-" in text  # this server's runs leave few metrics
    assert kubeflow.requests == before
    assert not (tmp_path / "published" / "weeks").exists()


def test_a_paired_gate_compares_with_the_published_run_per_question(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_all, right = kubeflow.when_started, [1.0] * 60 + [0.0] * 40

    def leave_questions(run: Any) -> None:
        leave_all(run)
        folder = next(Path(run.runtime_config.pipeline_root).glob(f"*/{run.run_id}/evaluate-3/*")) / "output"
        folder.mkdir()
        lines = [json.dumps({"benchmark": "b", "qid": i, "digest": "d", "accuracy": v}) for i, v in enumerate(right)]
        (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")

    kubeflow.when_started = leave_questions
    page = tmp_path / "page.md"
    place = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published", "--summary", page]
    gates = ["--gate", "paired:accuracy>=-0.05"]
    assert send(*place, *gates) == 0
    assert "no model was published before" in page.read_text()
    right[:20] = [0.0] * 20
    assert send(*place, *gates, "--occasion", "2") == 3
    told = (
        "accuracy 0.6 before, 0.4 now, over the same 100 questions: difference -0.2000, 95% interval -0.2788 to -0.1212"
    )
    assert told in page.read_text()
    (held,) = (tmp_path / "published" / "held").glob("*.json")
    assert told in held.read_text()
    right[:] = [1.0] * 65 + [0.0] * 35
    assert send(*place, *gates, "--occasion", "3") == 0
    assert send(*place, *gates, "--occasion", "3") == 0  # the same run is not compared with itself
    model = json.loads((tmp_path / "published" / "latest.json").read_text())["model"]
    assert "5 questions better, 0 worse" in page.read_text()
    assert (Path(model) / "README.md").is_file()


def test_a_gate_on_what_the_published_version_does_not_have_is_refused_before_anything_runs(
    kubeflow: Kubeflow, send: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published"]
    assert send(*place) == 0
    assert "is published without scores per question" in caplog.text
    before = list(kubeflow.requests)
    assert send(*place, "--gate", "paired:accuracy>=0", "--occasion", "2") == 2
    assert "publish once without the paired gate" in caplog.text
    assert send(*place, "--gate", "keyword>=published", "--occasion", "2") == 2
    assert "there is no score published:keyword" in caplog.text
    assert send(*place, "--gate", "accuracy>=nan") == 2
    assert kubeflow.requests == before


@pytest.mark.parametrize("options", [["--keep", "2"], ["--base", "published"], ["--batches", "rl_source=/tmp"]])
def test_options_of_the_loop_need_a_place_of_the_record(
    kubeflow: Kubeflow, send: Callable[..., int], options: list[str]
) -> None:
    assert send("--artifacts", "/tmp/x", *options) == 2
    assert not kubeflow.requests


@pytest.mark.parametrize(
    "options", [["--poll", "-1"], ["--poll", "nan"], ["--start-timeout", "nan"], ["--occasion", "../x"]]
)
def test_values_that_no_run_can_have_are_refused_before_anything_runs(
    kubeflow: Kubeflow, send: Callable[..., int], options: list[str]
) -> None:
    assert send(*options) == 2
    assert not kubeflow.requests


def test_a_refused_command_settles_nothing_for_its_occasion(send: Callable[..., int], tmp_path: Path) -> None:
    (tmp_path / "inbox" / "a").mkdir(parents=True)
    (tmp_path / "inbox" / "a" / "rows.json").write_text("[]")
    place = ["--artifacts", tmp_path / "store", "--publish", tmp_path / "published", "--occasion", "week-1"]
    batches = ["--batches", f"rl_source={tmp_path / 'inbox'}"]
    assert send(*place, *batches, "--gate", "bad") == 2
    assert not (tmp_path / "published" / "weeks").exists()
    assert send(*place, *batches) == 0
    assert (tmp_path / "published" / "weeks" / "week-1.json").is_file()
