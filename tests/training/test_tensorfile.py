"""Streamed safetensors files are compatible with the safetensors library."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pebr.training.tensorfile import TensorFileWriter, checksum, read_header

TENSORS = {
    "wide": torch.randn(3, 5, dtype=torch.float64),
    "narrow": torch.randn(7).bfloat16(),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
}


def test_the_library_reads_what_is_written_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with TensorFileWriter(path, [(n, t.dtype, tuple(t.shape)) for n, t in TENSORS.items()], {"format": "pt"}) as file:
        for tensor in TENSORS.values():
            for piece in tensor.reshape(-1).split(2):
                file.write(piece)
    found = load_file(path)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert file.checksum == checksum(path)
    assert file.size == path.stat().st_size


def test_a_header_of_the_library_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file(TENSORS, path, {"format": "pt"})
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    for name, entry in header.entries.items():
        assert (entry.dtype, entry.shape) == (TENSORS[name].dtype, tuple(TENSORS[name].shape))
        raw = path.read_bytes()[entry.start : entry.stop]
        assert raw == TENSORS[name].reshape(-1).view(torch.uint8).numpy().tobytes()


def test_a_tensor_too_few_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="bytes written of"),
        TensorFileWriter(tmp_path / "file", [("a", torch.float32, (2,))]) as file,
    ):
        file.write(torch.zeros(1))


@pytest.mark.parametrize(("length", "message"), [(4, "header"), (40, "header"), (-1, "tensors")])
def test_a_file_cut_short_is_reported(tmp_path: Path, length: int, message: str) -> None:
    path = tmp_path / "file.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=f"cut short in its {message}"):
        read_header(path)
