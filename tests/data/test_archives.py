"""Archives give what was put into them, whatever their kind; hostile members are skipped and counted."""

import io
import random
import stat
import tarfile
import time
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebr.data import streams
from pebr.data.archives import Archive, MemberError, open_archive, open_archives
from pebr.errors import InputError
from tests.data.archiving import KINDS, PACKERS, packed, tar_of, write_archive, zip_of

FILES = {"images/AI2D/1.png": b"one", "images/AI2D/2.png": b"", "n/" + "long" * 60 + "/ü.png": b"x" * 5000}


def opened(path: Path) -> Archive:
    return open_archive(path, [path])


def content(archive: Archive) -> dict[str, bytes]:
    return {name: archive.read(name) for name in archive.names()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_its_members(tmp_path: Path, kind: str) -> None:
    archive = opened(write_archive(tmp_path / f"a.{kind}", FILES))
    assert content(archive) == FILES
    assert list(reversed(content(archive).items())) == [
        (name, archive.read(name)) for name in reversed(archive.names())
    ]
    for name, data in FILES.items():
        with archive.open(name) as file:
            assert file.read() == data
    assert archive.skipped == {}


@pytest.mark.parametrize("layout", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@given(
    files=st.dictionaries(
        st.text("abcü /.", min_size=1, max_size=60).map(lambda text: "x" + text.replace("/", "_").strip() + "x"),
        st.binary(max_size=1500),
        max_size=8,
    )
)
def test_all_tar_formats_are_read_as_by_tarfile(
    tmp_path_factory: pytest.TempPathFactory, layout: int, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(tar_of(files, layout))
    with tarfile.open(path) as expected:
        members = {member.name: expected.extractfile(member).read() for member in expected}  # type: ignore[union-attr]
    assert content(opened(path)) == members == files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "names",
    [
        ["00", "01", "02"],
        ["1", "2", "3"],
        ["part_aa", "part_ab", "part_ac"],
        ["partaa", "partab", "partac"],
        ["aa", "ab", "ac"],
    ],
)
def test_parts_are_read_as_one(tmp_path: Path, kind: str, names: list[str]) -> None:
    whole = packed(kind, FILES)
    third = len(whole) // 3 + 1
    for number, name in enumerate(names):
        (tmp_path / f"a.{kind}.{name}").write_bytes(whole[number * third : (number + 1) * third])
    (archive,) = open_archives(list(tmp_path.iterdir()))
    assert archive.path.name == f"a.{kind}"
    assert content(archive) == FILES
    (tmp_path / f"a.{kind}.{names[1]}").unlink()
    with pytest.raises(InputError, match="one is missing"):
        open_archives(list(tmp_path.iterdir()))


def test_a_file_beside_an_archive_is_no_part_of_it(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.tar", FILES)
    for name in ("a.tar.md5", "a.tar.sig", "readme.md", "a.json"):
        (tmp_path / name).write_text("x")
    assert [archive.path.name for archive in open_archives(list(tmp_path.iterdir()))] == ["a.tar"]


def test_the_index_is_kept_and_used_until_the_tar_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_archive(tmp_path / "a.tar", FILES)
    assert content(opened(path)) == FILES
    (index,) = (kept for kept in tmp_path.iterdir() if kept != path)
    with monkeypatch.context() as patch:
        patch.setattr("pebr.data.archives._headers", None)  # would fail if the tar were searched
        assert content(opened(path)) == FILES
    index.write_bytes(index.read_bytes()[:-9])
    assert content(opened(path)) == FILES
    write_archive(path, {"other.png": b"12"})
    assert content(opened(path)) == {"other.png": b"12"}


def test_a_folder_that_cannot_be_written_needs_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr("pebr.data.archives.atomic_file", refuse)
    path = write_archive(tmp_path / "a.tar", FILES)
    assert content(opened(path)) == FILES
    assert list(tmp_path.iterdir()) == [path]


def hostile_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind in [
            ("/etc/passwd", tarfile.REGTYPE),
            ("a/../../b", tarfile.REGTYPE),
            ("C:\\b", tarfile.REGTYPE),
            ("soft", tarfile.SYMTYPE),
            ("hard", tarfile.LNKTYPE),
            ("tty", tarfile.CHRTYPE),
            ("disk", tarfile.BLKTYPE),
            ("pipe", tarfile.FIFOTYPE),
            ("folder", tarfile.DIRTYPE),
            ("twice", tarfile.REGTYPE),
            ("./twice", tarfile.REGTYPE),
            ("odd", b"Z"),
            ("good", tarfile.REGTYPE),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    return buffer.getvalue()


def test_a_hostile_tar_is_read_without_its_hostile_members(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(hostile_tar())
    archive = opened(tmp_path / "a.tar")
    counts = {"unsafe name": 3, "link": 2, "device": 3, "duplicate": 1, "unknown type": 1}
    assert (archive.names(), archive.skipped) == (["twice", "good"], counts)
    again = opened(tmp_path / "a.tar")  # by the index
    assert (again.names(), again.skipped) == (["twice", "good"], counts)


def test_the_last_of_equal_names_counts_as_when_a_tar_is_unpacked(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for data in (b"old", b"new!"):
            member = tarfile.TarInfo("a.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive = opened(tmp_path / "a.tar")
    assert (content(archive), archive.skipped) == ({"a.png": b"new!"}, {"duplicate": 1})


def test_a_hostile_zip_is_read_without_its_hostile_members(tmp_path: Path) -> None:
    warnings.simplefilter("ignore", UserWarning)  # of zipfile, about the name that occurs twice
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("/etc/passwd", "../up", "twice", "twice", "good"):
            file.writestr(name, name)
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    archive = opened(tmp_path / "a.zip")
    assert sorted(archive.names()) == ["good", "twice"]
    assert archive.skipped == {"unsafe name": 2, "duplicate": 1, "link": 1}


@pytest.mark.parametrize("kind", [kind for kind in PACKERS if kind != "tar"])
def test_a_bomb_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_UNPACKED_BASE", 2**22)
    monkeypatch.setattr(streams, "MOST_UNPACKED", 2)
    (tmp_path / f"a.{kind}").write_bytes(PACKERS[kind](tar_of({"zeros": bytes(2**23)})))
    with pytest.raises(InputError, match="bomb"):
        opened(tmp_path / f"a.{kind}")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_is_too_large_is_not_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pebr.data.archives.LARGEST_MEMBER", 1000)
    archive = opened(write_archive(tmp_path / f"a.{kind}", {"large": bytes(1001), "small": bytes(1000)}))
    assert archive.read("small") == bytes(1000)
    with pytest.raises(MemberError, match="1001 bytes"):
        archive.read("large")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_is_cut_off_is_said(tmp_path: Path, kind: str, share: float) -> None:
    data = packed(kind, {f"{i}.png": random.Random(i).randbytes(3000) for i in range(20)})
    (tmp_path / f"a.{kind}").write_bytes(data[: int(share * 20 * 3000)])
    with pytest.raises(InputError, match="copy it again"):
        opened(tmp_path / f"a.{kind}")


def test_a_pointer_of_git_lfs_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        opened(tmp_path / "a.tar")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_a_compressed_tar_is_read_back_and_forth_with_bounded_memory(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHUNK", 2**12)
    monkeypatch.setattr(streams, "WINDOW", 4)
    files = {f"{i}.png": bytes([i]) * 5000 for i in range(40)}
    archive = opened(write_archive(tmp_path / f"a.{kind}", files))
    for number in (0, 39, 3, 20, 19, 18, 39, 0):
        assert archive.read(f"{number}.png") == files[f"{number}.png"]
    assert archive.sequential
    assert len(archive._source._chunks) <= 6  # type: ignore[attr-defined]


def test_a_large_index_is_made_in_no_time(tmp_path: Path) -> None:
    files = {f"images/{i:06d}.png": b"x" for i in range(20_000)}
    path = write_archive(tmp_path / "a.tar", files)
    began = time.monotonic()
    archive = opened(path)
    for name in archive.names():
        archive.read(name)
    assert 20_000 / (time.monotonic() - began) > 5_000, "members per second"


@given(data=st.binary(max_size=3000), start=st.sampled_from([tar_of(FILES), zip_of(FILES)]), place=st.integers(0, 4000))
def test_any_bytes_are_an_archive_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes, place: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.tar"
    path.write_bytes(start[:place] + data + start[place + len(data) :])
    try:
        archive = opened(path)
    except InputError:
        return
    for name in archive.names():
        with suppress(MemberError):
            archive.read(name)
