"""VLMEvalKit's tables, with their ways of writing images and options."""

import base64
import tracemalloc
from pathlib import Path

import pytest

from pebr.data.benchmark import read_tsv
from pebr.step import InputError

PICTURE = bytes(range(200))
BASE64 = base64.b64encode(PICTURE).decode()


def table(tmp_path: Path, header: str, *lines: str) -> Path:
    path = tmp_path / "b.tsv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def test_options_and_columns_are_told_apart(tmp_path: Path) -> None:
    path = table(tmp_path, "index\tquestion\tB\tA\tanswer\tcategory\tID", "7\tWhich?\tred\tblue\tB\tcolour\t3")
    (row,) = read_tsv(path)
    assert row.options == {"A": "blue", "B": "red"}
    assert (row.index, row.category, row.extra) == ("7", "colour", {"ID": "3"})


def test_an_empty_option_is_none(tmp_path: Path) -> None:
    (row,) = read_tsv(table(tmp_path, "index\tquestion\tA\tB\tC\tanswer", "7\tWhich?\tred\tblue\tnan\tB"))
    assert list(row.options) == ["A", "B"]


def test_an_image_is_base64_or_a_list_or_another_rows(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "index\timage\tquestion\tanswer",
        f"1\t{BASE64}\tQ\t1",
        "2\t1\tQ\t2",
        f"3\t['{BASE64}', '{BASE64}']\tQ\t3",
        "4\t\tQ\t4",
        "5\t6\tQ\t5",  # of a later row
        f'6\t"[""{BASE64}""]"\tQ\t6',
    )
    expected = [[PICTURE], [PICTURE], [PICTURE, PICTURE], [], [PICTURE], [PICTURE]]
    assert [row.images for row in read_tsv(path)] == expected


def test_only_images_that_are_used_again_stay_in_memory(tmp_path: Path) -> None:
    """20 MB of pictures; the table in memory would take more than that."""
    lines = [f"{i}\t{base64.b64encode(bytes([i]) * 200_000).decode()}\tQ\t1" for i in range(100)]
    path = table(tmp_path, "index\timage\tquestion\tanswer", *lines, "100\t3\tQ\t1")
    del lines
    tracemalloc.start()
    try:
        assert [row.images[0][0] for row in read_tsv(path)] == [*range(100), 3]
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_a_byte_order_mark_is_not_part_of_a_columns_name(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text("index\tquestion\tanswer\n1\tQ\tA\n", encoding="utf-8-sig")
    assert [row.index for row in read_tsv(tmp_path / "b.tsv")] == ["1"]


def test_a_file_that_is_missing_or_not_text_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(read_tsv(tmp_path / "none.tsv"))
    (tmp_path / "b.tsv").write_bytes(b"index\tquestion\tanswer\n1\t\xff\xfe\tA\n")
    with pytest.raises(InputError, match="UTF-8"):
        list(read_tsv(tmp_path / "b.tsv"))


@pytest.mark.parametrize(
    ("header", "line", "said"),
    [
        ("index\tanswer", "1\tA", "no column 'question'"),
        ("index\tquestion\tanswer\timage", "1\tQ\tA\t99", "that of row 99, which has none"),
        ("index\tquestion\tanswer\timage", "1\tQ\tA\t" + "!" * 100, "not base64"),
        ("index\tquestion\tanswer\timage", "1\tQ\tA\t[broken", "image list"),
        ("index\tquestion\tanswer\timage", "1\tQ\tA\t1", "that of row 1, which has none"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, header: str, line: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        list(read_tsv(table(tmp_path, header, line)))


def test_an_index_that_occurs_twice_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, "index\tquestion\tanswer", "1\tQ\tA", "1\tQ\tB")
    with pytest.raises(InputError, match="line 3, index 1"):
        list(read_tsv(path))
