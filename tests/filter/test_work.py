"""Filter on real files: which rows are kept, which are rejected, and which errors stop it."""

import io
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pebr.data.shards import iter_rows, read_manifest
from pebr.errors import InputError
from pebr.filter.settings import Settings
from pebr.filter.work import work
from pebr.toy.formats import write_sft

ANSWER = (
    "### Image Description: a dot\n### Rationales: r\n### Let's think step by step.\n### Step 1: s\n"
    "### The final answer is:\n7"
)


def image_bytes(width: int = 60, height: int = 60) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = tmp_path / "source" / "images"
    images.mkdir(parents=True)
    (images / "good.png").write_bytes(image_bytes())
    return tmp_path / "source"


def sft_row(image: Any = "images/good.png", answer: str = ANSWER, question: str = "<image>How many?") -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        "images": image,
    }


def rl_row(**fields: Any) -> dict[str, Any]:
    row = {"qid": 1, "problem": "<image>How many?", "answer": "7", "images": ["images/good.png"], "key_words": ["dot"]}
    return row | fields


def filtered(source: Path, rows: list[Any], kind: str = "sft", **settings: Any) -> tuple[list[dict[str, Any]], Any]:
    name = "mulberry_sft.json" if kind == "sft" else "pebr_grpo_dataset.json"
    (source / name).write_text(json.dumps(rows))
    output = source.parent / "output"
    work(Settings(source=str(source), output=str(output), kind=kind, **settings))
    return list(iter_rows(output)), read_manifest(output)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (sft_row(answer=ANSWER.replace("s\n", "LET ME RETHINK IT\n", 1)), "reflective"),
        (sft_row(image="images/none.png"), "image missing"),
        (sft_row(image="images"), "image missing"),
        (sft_row(image="images/" + "x" * 300), "image missing"),
        (sft_row(image="images/zero\0byte.png"), "image missing"),
        (sft_row(image="images/circle"), "image missing"),
        (sft_row(image="../../secret.png"), "image outside the root"),
        (sft_row(image="images/small.png"), "image too small"),
        (sft_row(image="images/cut.png"), "image unreadable"),
        (sft_row(image="images/page.png"), "image unreadable"),
        (sft_row(image=7), "images of a wrong type"),
        (sft_row(image=[]), "placeholders and images differ"),
        ({"messages": [{"role": "user", "text": "Q"}], "images": []}, "messages of a wrong type"),
        (sft_row(answer="Seven."), "no final answer"),
        (sft_row(answer="  "), "empty message"),
        ({"images": "images/good.png"}, "no messages"),
        ({"messages": [{"role": "assistant", "content": "x"}], "images": []}, "turns out of order"),
        ("text", "not an object"),
    ],
)
def test_an_unusable_sft_row_is_set_aside(source: Path, row: Any, reason: str) -> None:
    (source / "images" / "small.png").write_bytes(image_bytes(27, 60))
    (source / "images" / "cut.png").write_bytes(image_bytes()[:-30])
    (source / "images" / "page.png").write_text("404")
    (source / "images" / "circle").symlink_to("circle")
    kept, manifest = filtered(source, [sft_row(), row])
    assert [r["qid"] for r in kept] == ["00000000"]
    assert manifest.rejected == {reason: 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (rl_row(qid=2, answer=""), "no answer"),
        (rl_row(qid=2, answer=None), "no answer"),
        (rl_row(qid=2, problem="<image>"), "no question"),
        (rl_row(qid=2, key_words="dot"), "keywords of a wrong type"),
        (rl_row(), "qid occurs twice"),
        (rl_row(qid=""), "no qid"),
        (rl_row(qid=2, problem="<image><image>?"), "placeholders and images differ"),
        (rl_row(qid=2, images=["images/none.png"]), "image missing"),
    ],
)
def test_an_unusable_rl_row_is_set_aside(source: Path, row: Any, reason: str) -> None:
    kept, manifest = filtered(source, [rl_row(), row], "rl")
    assert [r["qid"] for r in kept] == ["1"]
    assert manifest.rejected == {reason: 1}


def test_images_may_be_a_path_or_a_list_and_travel_inside(source: Path) -> None:
    kept, _ = filtered(source, [sft_row(), sft_row(["images/good.png"]), sft_row([], question="How many?")])
    assert [[image["bytes"] for image in row["images"]] for row in kept] == [[image_bytes()], [image_bytes()], []]


def test_an_rl_rows_further_columns_are_kept(source: Path) -> None:
    (row,), _ = filtered(source, [rl_row(options={"A": "7"})], "rl")
    assert json.loads(row["extra"]) == {"options": {"A": "7"}}


def test_an_rl_row_without_key_words_gets_those_of_its_description(source: Path) -> None:
    described = {"description": "There are two red circles next to a blue square."}
    rows = [rl_row(qid=1, key_words=[], **described), rl_row(qid=2, **described), rl_row(qid=3, key_words=[])]
    kept, _ = filtered(source, rows, "rl")
    assert [row["key_words"] for row in kept] == [["two red circles", "next to", "blue square"], ["dot"], []]
    assert json.loads(kept[0]["extra"]) == described


def test_a_wrong_image_root_is_said_and_nothing_is_written(source: Path) -> None:
    """The same when some rows have no image, or another fault."""
    text_only = sft_row([], question="How many?")
    with pytest.raises(InputError, match=r"none of the images is here \(first pictures/a.png\): .*--image-root"):
        filtered(source, [text_only, sft_row("pictures/a.png", answer="Seven."), *[sft_row("pictures/a.png")] * 3])
    assert not (source.parent / "output").exists()


def test_many_missing_images_before_the_first_that_is_there_are_only_rows(source: Path) -> None:
    """Public datasets are sorted by the source of their images, and a part of the images may not be downloaded."""
    kept, manifest = filtered(source, [*[sft_row("coco/a.png")] * 150, sft_row()])
    assert len(kept) == 1
    assert manifest.rejected == {"image missing": 150}


def test_a_linked_image_folder_is_followed(source: Path) -> None:
    (source / "images").rename(source.parent / "elsewhere")
    (source / "images").symlink_to(source.parent / "elsewhere", target_is_directory=True)
    kept, _ = filtered(source, [sft_row()])
    assert len(kept) == 1


def test_rows_set_aside_are_kept_as_they_were(source: Path) -> None:
    rows = [rl_row(), rl_row(qid=2, answer="", source="exam"), ["a", 1]]
    filtered(source, rows, "rl")
    rejected = pq.read_table(source.parent / "output" / "rejected").to_pylist()
    assert json.loads(rejected[0]["row"]) == rows[1] | {"qid": "2"}
    assert json.loads(rejected[1]["row"]) == {"qid": "row 2", "value": ["a", 1]}


def test_the_same_rows_give_the_same_bytes(source: Path) -> None:
    """The number and timing of the decoding threads do not matter."""
    rows = [sft_row(answer=f"{ANSWER}{i}") for i in range(200)]
    filtered(source, rows, rows_per_shard=50)
    (source.parent / "output").rename(source.parent / "first")
    filtered(source, rows, rows_per_shard=50)
    for path in (source.parent / "first").iterdir():
        assert path.read_bytes() == (source.parent / "output" / path.name).read_bytes()


@pytest.mark.parametrize("settings", [{"rows_per_shard": 0}, {"image_root": "nowhere"}])
def test_wrong_settings_are_said(source: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"at least 1|no such folder"):
        filtered(source, [sft_row()], **settings)
    assert not (source.parent / "output").exists()


def test_a_file_cut_off_is_said_with_its_place(source: Path) -> None:
    (source / "mulberry_sft.json").write_text(json.dumps([sft_row()] * 5)[:-40])
    command = [sys.executable, "-m", "pebr.filter", "--source", str(source), "--output", str(source.parent / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "broken JSON after row 4" in done.stderr.splitlines()[-1]
    assert sorted(p.name for p in source.parent.iterdir()) == ["source"]


@pytest.mark.parametrize("content", ['{"a": 1}', "", "nonsense"])
def test_a_file_that_is_no_array_is_said(source: Path, content: str) -> None:
    (source / "mulberry_sft.json").write_text(content)
    with pytest.raises(InputError, match="give a JSON array"):
        work(Settings(source=str(source), output=str(source.parent / "output")))


def test_a_missing_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        work(Settings(source=str(tmp_path / "nothing"), output=str(tmp_path / "output")))


def test_the_toy_worlds_faults_are_all_found(tmp_path: Path) -> None:
    write_sft(tmp_path / "sft", seed=0, rows=250)
    metrics = work(Settings(source=str(tmp_path / "sft"), output=str(tmp_path / "output")))
    assert metrics["kept"] == 250
    assert metrics["read"] == 260
    reasons = {"reflective", "image missing", "image too small", "image unreadable"}
    assert {name.removeprefix("rejected/") for name in metrics if "/" in name} == reasons


@pytest.mark.slow
def test_a_killed_filter_leaves_nothing_and_ends_with_the_same_bytes_when_run_again(source: Path) -> None:
    Image.effect_noise((150, 150), 90).save(source / "images" / "good.png")
    (source / "mulberry_sft.json").write_text(json.dumps([sft_row()] * 1_500))
    output = source.parent / "output"
    command = [sys.executable, "-m", "pebr.filter", "--source", str(source), "--rows-per-shard", "64", "--output"]
    with subprocess.Popen([*command, str(output)], stderr=subprocess.DEVNULL) as process:
        while not list(source.parent.glob(".output.partial/part-00002.parquet")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not output.exists()
    for name in ("output", "undisturbed"):
        subprocess.run([*command, str(source.parent / name)], check=True)
    assert sorted(path.name for path in source.parent.iterdir()) == ["output", "source", "undisturbed"]
    for path in (source.parent / "undisturbed").iterdir():
        assert path.read_bytes() == (output / path.name).read_bytes()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(source: Path) -> None:
    """3,500 more rows, whose images alone are 105 MB."""
    Image.frombytes("RGB", (100, 100), random.Random(0).randbytes(30_000)).save(source / "images" / "good.png")
    assert (source / "images" / "good.png").stat().st_size > 30_000
    code = (
        "import resource, sys; from pebr.filter.work import work; from pebr.filter.settings import Settings;"
        "work(Settings(source=sys.argv[1], output=sys.argv[2]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for rows in (500, 4_000):
        (source / "mulberry_sft.json").write_text(json.dumps([sft_row()] * rows))
        command = [sys.executable, "-c", code, str(source), str(source.parent / "output")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 1024)
    assert peaks[1] < peaks[0] + 40, f"{peaks} MB"
