"""Pictures are found by path, else by the longest suffix that names one file."""

from pathlib import Path

import pytest

from pebr.data.archives import open_archives
from pebr.data.pictures import PictureError, Pictures
from pebr.store.listing import files_of
from tests.data.archiving import write_archive


def pictures(folder: Path, root: str = "") -> Pictures:
    return Pictures(folder, folder / root, open_archives(list(files_of(folder).values())))


def found(source: Pictures, path: str) -> tuple[str, bytes]:
    place = source.find(path)
    return place.how, source.read(place)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    members = {
        "mulberry_images/AI2D/images/1.png": b"ai2d",
        "mulberry_images/COCO/images/1.png": b"coco",
        "mulberry_images/COCO/2.png": b"two",
    }
    write_archive(tmp_path / "mulberry_images.tar", members)
    write_archive(tmp_path / "train.zip", {"9.png": b"train"})
    write_archive(tmp_path / "test.zip", {"9.png": b"test"})
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "3.png").write_bytes(b"three")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "how", "data"),
    [
        ("mulberry_images/AI2D/images/1.png", "by path", b"ai2d"),
        ("./mulberry_images/COCO/../COCO/2.png", "by path", b"two"),
        ("loose/3.png", "by path", b"three"),
        ("AI2D/images/1.png", "by suffix", b"ai2d"),
        ("/home/maker/data/COCO/images/1.png", "by suffix", b"coco"),
        ("/home/maker/mulberry_images/COCO/2.png", "by suffix", b"two"),
        ("D:\\pictures\\COCO\\2.png", "by suffix", b"two"),
        ("2.png", "by suffix", b"two"),
        ("data/3.png", "by suffix", b"three"),
        ("train/9.png", "by suffix", b"train"),
        ("test/9.png", "by suffix", b"test"),
    ],
)
def test_a_picture_is_found(folder: Path, path: str, how: str, data: bytes) -> None:
    assert found(pictures(folder), path) == (how, data)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("images/1.png", "image ambiguous"),
        ("elsewhere/1.png", "image ambiguous"),
        ("9.png", "image ambiguous"),
        ("AI2D/images/4.png", "image missing"),
        ("ages/1.png/", "image ambiguous"),
        ("/etc/passwd", "image missing"),
        ("zero\0byte.png", "image missing"),
        ("x" * 300, "image missing"),
        (".", "image missing"),
        ("../2.png", "image outside the root"),
        ("https://host/2.png", "image is a URL"),
        ("s3://bucket/2.png", "image is a URL"),
    ],
)
def test_a_picture_that_is_not_found_says_why(folder: Path, path: str, kind: str) -> None:
    with pytest.raises(PictureError) as error:
        pictures(folder).find(path)
    assert error.value.fault.kind == kind


def test_paths_are_relative_to_the_root(folder: Path) -> None:
    (folder / "mulberry_images" / "COCO").mkdir(parents=True)
    assert found(pictures(folder, "mulberry_images"), "COCO/2.png") == ("by path", b"two")
    assert found(pictures(folder, "loose"), "3.png") == ("by path", b"three")


def test_a_part_of_a_name_is_no_suffix(folder: Path) -> None:
    write_archive(folder / "more.tar", {"images/12.png": b"12"})
    with pytest.raises(PictureError):
        pictures(folder).find("images/22.png")
