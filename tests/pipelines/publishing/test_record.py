"""The record of published models: versions that are kept, runs that are held back, batches that are new."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pebr.errors import InputError
from pipelines.gate import Verdict
from pipelines.publishing.batches import batches_at, choose, settle
from pipelines.publishing.record import Record, Records


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(str(tmp_path / "published"))


def model(tmp_path: Path, name: str) -> str:
    folder = tmp_path / "runs" / name / "output"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(name)
    (folder.parent / "metrics").write_text("{}")
    return str(folder)


def publish(records: Records, tmp_path: Path, name: str, keep: int = 0, **fields: object) -> Record:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"benchmark": "b", "qid": name, "digest": "d", "accuracy": 1.0}) + "\n")
    made = Record(name, model(tmp_path, name), {"accuracy": 0.5}, {"recipe": "toy"}, **fields)
    records.publish(made, questions, keep)
    return made


def test_what_is_written_is_read(records: Records, tmp_path: Path) -> None:
    assert records.latest() is None
    made = publish(records, tmp_path, "one", parameters={"seed": 1}, batches={"rl_source": ["a"]}, steps={"sft": {}})
    found = records.latest()
    assert found
    assert found.document() == made.document() | {"time": found.time}
    assert records.results("one") == {("b", "one", "d"): {"accuracy": 1.0}}
    with pytest.raises(InputError, match="publish once without the paired gate"):
        records.results("older")


def test_the_newest_versions_are_kept_with_their_models(records: Records, tmp_path: Path) -> None:
    made = [publish(records, tmp_path, name) for name in ("b", "a", "c")]  # order of time, not of names
    made.append(publish(records, tmp_path, "d", keep=2))
    assert [Path(one.model).exists() for one in made] == [False, False, True, True]
    assert [record.run for record in records.all()] == ["c", "d"]
    names = {path.name for path in (tmp_path / "published").iterdir()}
    assert names == {"latest.json", "c.json", "c.questions.jsonl", "d.json", "d.questions.jsonl"}
    assert (tmp_path / "runs" / "a" / "metrics").exists()  # only the model is removed


def test_a_model_that_a_kept_version_names_is_not_removed(records: Records, tmp_path: Path) -> None:
    first = publish(records, tmp_path, "one")
    records.publish(Record("again", first.model, {"accuracy": 0.5}), None, keep=1)
    assert Path(first.model).exists()
    assert [record.run for record in records.all()] == ["again"]


def test_the_published_version_stays_even_if_it_is_an_old_one(records: Records, tmp_path: Path) -> None:
    """After a return to an earlier version, a removal that is made up for does not take it away."""
    first = publish(records, tmp_path, "one")
    publish(records, tmp_path, "two")
    folder = tmp_path / "published"
    (folder / "latest.json").write_text((folder / "one.json").read_text())
    records._remove_old(1)
    assert Path(first.model).exists()


def test_a_run_that_is_held_back_says_why_and_keeps_its_batches_away(records: Records, tmp_path: Path) -> None:
    failed = Verdict("paired:accuracy>=-0.02", float("-inf"), -0.02, False, "worse")
    run = Record("bad", "", {"accuracy": 0.1}, batches={"rl_source": ["s3://d/2", "s3://d/3"]})
    records.hold(run, [failed, Verdict("clip>0", 1.0, 0.0, True)])
    document = json.loads((tmp_path / "published" / "held" / "bad.json").read_text())
    assert document["reasons"] == [{"gate": failed.gate, "score": None, "bound": -0.02, "note": "worse"}]
    assert set(records.held()) == {"s3://d/2", "s3://d/3"}
    assert records.latest() is None
    publish(records, tmp_path, "bad")  # by an operator, with another gate
    assert records.held() == {}


def deliver(place: Path, *names: str) -> None:
    for name in names:
        (place / name).mkdir(parents=True)
        (place / name / "rows.json").write_text("[]")


def chosen(records: Records, base: str, place: Path) -> tuple[Sequence[str], bool]:
    made = choose(base, [f"rl_source={place}"], records)
    return made.changes, made.nothing_new


def test_new_batches_are_those_below_the_prefix_that_were_not_used(records: Records, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    deliver(inbox, "2026-11-23", "2026-11-30", "2026-12-07")
    (inbox / "README").write_text("a file is no batch")
    first, second, third = (f"{inbox}/{name}" for name in ("2026-11-23", "2026-11-30", "2026-12-07"))
    assert chosen(records, "published", inbox) == ([f"rl_source={first},{second},{third}"], False)
    made = publish(records, tmp_path, "one", batches={"rl_source": [first]})
    records.hold(Record("bad", "", {"a": 0.0}, batches={"rl_source": [second]}), [])
    assert chosen(records, "published", inbox) == ([f"model_source={made.model}", f"rl_source={third}"], False)
    assert chosen(records, "recipe", inbox) == ([f"rl_source={first},{third}"], False)
    assert choose("published", [f"rl_source={inbox}"], records).used == {"rl_source": [first, third]}
    publish(records, tmp_path, "two", batches={"rl_source": [first, third]})
    assert chosen(records, "published", inbox)[1]
    (tmp_path / "published" / "held" / "bad.json").unlink()  # an operator admits it again
    assert chosen(records, "published", inbox)[0][1] == f"rl_source={second}"


def test_a_manifest_lists_batches_of_any_kind(tmp_path: Path) -> None:
    (tmp_path / "rl.txt").write_text(
        "# since May\nhf://datasets/a/b@v1*0.5\n\ns3://d/2026-11-30\nhf://datasets/a/b@v1*0.5\n"
    )
    assert batches_at(str(tmp_path / "rl.txt")) == ["hf://datasets/a/b@v1*0.5", "s3://d/2026-11-30"]


def test_one_occasion_has_one_choice(records: Records, tmp_path: Path) -> None:
    """A retry of the submitting pod finds its run although a batch has come meanwhile."""
    inbox = tmp_path / "inbox"
    deliver(inbox, "a")
    arguments = ("published", [f"rl_source={inbox}"], records, "job-7")
    choose(*arguments)
    assert not (tmp_path / "published" / "weeks").exists()  # only what is submitted is settled
    settle(first := choose(*arguments), records, "job-7")
    deliver(inbox, "b")
    again = choose(*arguments)
    assert (again.changes, again.batches) == (first.changes, first.batches)
    assert choose(*arguments[:3], "job-8").batches == {"rl_source": [f"{inbox}/a", f"{inbox}/b"]}


def test_a_week_without_data_is_nothing_new_also_where_nothing_may_be_used(records: Records, tmp_path: Path) -> None:
    inbox, other = tmp_path / "inbox", tmp_path / "other"
    assert chosen(records, "published", inbox) == ([], True)
    deliver(inbox, "a")
    records.hold(Record("bad", "", {"a": 0.0}, batches={"rl_source": [f"{inbox}/a"]}), [])
    assert chosen(records, "published", inbox)[1]
    deliver(other, "b")
    with pytest.raises(InputError, match=r"no batch is there that may be used.*remove .*/held/bad.json to use"):
        choose("published", [f"rl_source={inbox}", f"sft_source={other}"], records)


def test_after_a_return_to_an_earlier_version_the_withdrawn_batches_are_left_out(
    records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    inbox, folder = tmp_path / "inbox", tmp_path / "published"
    first, second, third = (f"{inbox}/{name}" for name in "abc")
    deliver(inbox, "a", "b")
    publish(records, tmp_path, "one", batches={"rl_source": [first]})
    publish(records, tmp_path, "two", batches={"rl_source": [first, second]})
    assert records.withdrawn() == {}
    (folder / "latest.json").write_text((folder / "one.json").read_text())
    assert chosen(records, "published", inbox)[1]
    assert f"left out: {second}, which was held back or withdrawn: remove {folder}/two.json to use it" in caplog.text
    deliver(inbox, "c")
    assert chosen(records, "published", inbox)[0][1] == f"rl_source={third}"
    publish(records, tmp_path, "three", batches={"rl_source": [first, third]})
    assert chosen(records, "published", inbox)[1]  # still
    (folder / "two.json").unlink()
    assert chosen(records, "published", inbox)[0][1] == f"rl_source={second}"


def test_wrong_places_are_refused_with_the_remedy(records: Records, tmp_path: Path) -> None:
    deliver(tmp_path / "odd", "2026:11")
    for places, told in (
        (["rl_source"], "write it as"),
        (["rl_source=a", "rl_source=b"], "rl_source has a place already, a"),
        ([f"rl_source={tmp_path / 'no.txt'}"], "no such manifest"),
        ([f"rl_source={tmp_path / 'odd'}"], "rename it"),
    ):
        with pytest.raises(InputError, match=told):
            choose("published", places, records)
    with pytest.raises(InputError, match="give --publish"):
        choose("published", [], None)
