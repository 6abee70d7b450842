"""Parts: natural to strangers, exact to us."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from datafeed.errors import DamagedError, FormatError
from datafeed.feed.chunk import crc_of, pieces_of, unpack
from datafeed.feed.index import PartIndex
from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import Field
from datafeed.feed.writer.part_writer import PartWriter, write_virtual
from tests.feed.made import SCHEMA, make_feed, sample_of

STRANGER = """
import h5py, json, sys
from pathlib import Path
folder = Path(sys.argv[1])
i = 0
for part in json.loads((folder / "feed.json").read_text())["parts"]:
    with h5py.File(folder / part["file"]) as f:
        starts, text = f["text/offsets"][:], f["text/values"][:]
        for row in range(part["samples"]):
            assert f["label"][row] == i * 1000003
            assert f["image"][row].sum() == sum((k * 7 + i) % 251 for k in range(12))
            words = text[starts[row]:starts[row + 1]].tobytes().decode()
            assert words == "x" * (i % 5) + str(i), words
            assert f["_origin/key"][row].decode() == f"key{i}"
            i += 1
print(i)
"""


def indexed(folder: Path, manifest: Manifest, part: int) -> tuple[bytes, PartIndex]:
    entry = manifest.parts[part]
    data, place = (folder / entry.file).read_bytes(), entry.index
    chunks = data[place.chunks_offset :][: 24 * place.n_chunks]
    extents = data[place.extents_offset :][: 24 * place.n_extents]
    return data, PartIndex(entry, chunks, extents)


def test_a_stranger_reads_every_sample_with_h5py_and_json_alone(tmp_path: Path) -> None:
    make_feed(tmp_path, [25, 1, 10])
    command = [sys.executable, "-I", "-c", STRANGER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "36", done.stderr


def test_the_index_leads_to_every_chunk(tmp_path: Path) -> None:
    manifest = make_feed(tmp_path, [25, 10, 3])
    position = 0
    for part in range(3):
        data, index = indexed(tmp_path, manifest, part)
        for chunk in range(manifest.parts[part].index.n_chunks):
            pieces = [data[e.offset : e.offset + e.n_bytes] for e in index.extents(chunk)]
            assert crc_of([memoryview(piece) for piece in pieces]) == index.crc(chunk)
            payload = memoryview(b"".join(pieces))
            assert len(payload) == index.n_bytes(chunk)
            columns = unpack(SCHEMA, payload, index.lengths(chunk, len(pieces_of(SCHEMA))))
            for row in range(len(columns[0][0])):
                wanted = sample_of(position)
                np.testing.assert_array_equal(columns[0][0][row], wanted["image"])
                offsets, points = columns[3]
                mine = points[offsets[row] : offsets[row + 1]]
                np.testing.assert_array_equal(mine, wanted["points"])
                position += 1
    assert position == 38


@pytest.mark.parametrize("samples_per_chunk", [1, 6, 70, 1000])
def test_pieces_of_a_chunk_lie_next_to_each_other(tmp_path: Path, samples_per_chunk: int) -> None:
    """So that one read fills a slot: the fixed fields of large and of tiny chunks."""
    manifest = make_feed(tmp_path, [4 * samples_per_chunk], samples_per_chunk)
    _, index = indexed(tmp_path, manifest, 0)
    for chunk in range(4):
        rows = [e for e in index.extents(chunk) if pieces_of(SCHEMA)[e.piece].role == "rows"]
        assert all(e.offset % 4096 == 0 for e in rows)
        assert 0 <= rows[1].offset - (rows[0].offset + rows[0].n_bytes) < 64 << 10


@pytest.mark.parametrize(("row_bytes", "alignment"), [(16, 64), (4095, 64), (4096, 4096)])
def test_small_chunks_are_not_blown_up_to_pages(
    tmp_path: Path, row_bytes: int, alignment: int
) -> None:
    schema = (Field(name="x", dtype="uint8", shape=(row_bytes,)),)
    with PartWriter(tmp_path / "p.h5", schema, 16, ["s"]) as writer:
        for _ in range(1600):
            writer.append([np.zeros(row_bytes, np.uint8)], "k", 0)
        writer.close()
    with h5py.File(tmp_path / "p.h5") as file:
        places = [file["x"].id.get_chunk_info(i).byte_offset for i in range(100)]
    assert {place % alignment for place in places} == {0}
    assert (tmp_path / "p.h5").stat().st_size < 2.3 * 1600 * row_bytes


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_feed(tmp_path / name, [25])
    a, b = ((tmp_path / name / "part-00000.h5").read_bytes() for name in ("a", "b"))
    assert a == b


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    manifest = make_feed(tmp_path, [25])
    path = tmp_path / "part-00000.h5"
    data = bytearray(path.read_bytes())
    data[manifest.parts[0].index.chunks_offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"part-00000\.h5: its index is damaged"):
        indexed(tmp_path, manifest, 0)


def test_the_virtual_file_is_the_whole_feed(tmp_path: Path) -> None:
    manifest = make_feed(tmp_path, [25, 0, 10])
    write_virtual(tmp_path / "feed.h5", manifest)
    with h5py.File(tmp_path / "feed.h5") as file:
        assert sorted(file) == ["image", "label"]
        np.testing.assert_array_equal(file["label"][:], np.arange(35) * 1_000_003)
        np.testing.assert_array_equal(file["image"][34], sample_of(34)["image"])


def test_samples_that_share_a_buffer_stay_apart(tmp_path: Path) -> None:
    schema = (
        Field(name="x", dtype="int64", shape=(2,)),
        Field(name="t", dtype="uint8", kind="str"),
    )
    x, text = np.zeros(2, np.int64), np.zeros(1, np.uint8)
    with PartWriter(tmp_path / "p.h5", schema, 4, ["s.tar"]) as writer:
        for i in range(6):
            x[:], text[:] = i, i
            writer.append([x, text], str(i), 0)
        writer.close()
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["x"][:, 0].tolist() == list(range(6))
        assert file["t/values"][:].tolist() == list(range(6))


def test_a_key_of_over_1024_bytes_is_refused(tmp_path: Path) -> None:
    with PartWriter(tmp_path / "p.h5", (Field(name="x", dtype="int64"),), 4, ["s.tar"]) as writer:
        writer.append([np.array(1)], "k" * 1024, 0)
        with pytest.raises(FormatError, match=r"s\.tar: the key 'k{40}'\.\.\. has 1025 bytes"):
            writer.append([np.array(2)], "k" * 1025, 0)
        assert writer.close().samples == 1
