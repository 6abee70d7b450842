"""The command: inspect, verify, settings, exit status."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from datafeed.feed.manifest import Manifest
from datafeed.feed.schema import conform, infer_schema
from datafeed.feed.writer.part_writer import PartWriter
from tests.feed.made import make_feed
from tests.feed.test_part_writer import indexed
from tests.staging.made import datafeed, write_shards


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    write_shards(tmp_path / "raw", 2, 30)
    done = datafeed("stage", tmp_path / "raw", "--to", tmp_path / "feed")
    assert done.returncode == 0, done.stderr
    return tmp_path / "feed"


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_inspect_tells_what_is_in_a_feed(staged: Path) -> None:
    facts = json.loads(datafeed("inspect", staged, "--json").stdout)
    assert facts["samples"] == 60
    assert facts["fields"] == {"image": "uint8[8, 8]", "label": "int64"}
    assert facts["shards"] == 2
    assert len(facts["feed_id"]) == 32


def test_inspect_tells_where_a_sample_came_from(staged: Path) -> None:
    facts = json.loads(datafeed("inspect", staged, "--sample", 45, "--json").stdout)
    assert facts["shard"] == str(staged.parent / "raw" / "shard-001.tar")
    assert facts["key"] == "000045"
    assert facts["fields"]["label"] == 5


def test_inspect_counts_samples_from_the_end_too(staged: Path) -> None:
    last, negative = (
        json.loads(datafeed("inspect", staged, "--sample", number, "--json").stdout)
        for number in (59, -1)
    )
    assert negative == last


def test_inspect_of_a_sample_that_is_not_there(staged: Path) -> None:
    done = datafeed("inspect", staged, "--sample", 60)
    assert done.returncode == 2
    assert "positions go from 0 to 59" in done.stderr


def test_inspect_of_no_feed(tmp_path: Path) -> None:
    done = datafeed("inspect", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(tmp_path) in line


def test_verify_of_a_sound_feed(staged: Path) -> None:
    done = datafeed("verify", staged, "--source", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["damaged"] == []


def test_verify_names_each_damaged_part_and_chunk(tmp_path: Path) -> None:
    manifest = make_feed(tmp_path, [25, 25, 25])
    _, index = indexed(tmp_path, manifest, 0)
    flip(tmp_path / "part-00000.h5", index.extents(1)[0].offset)
    flip(tmp_path / "part-00002.h5", manifest.parts[2].index.chunks_offset)
    done = datafeed("verify", tmp_path, "--json")
    assert done.returncode == 1
    damaged = json.loads(done.stdout)["damaged"]
    assert [line.split(":")[0] for line in damaged] == ["part-00000.h5", "part-00002.h5"]
    assert "damaged chunks: [1]" in damaged[0]
    assert "index is damaged" in damaged[1]


def test_verify_names_a_missing_and_a_cut_part(tmp_path: Path) -> None:
    make_feed(tmp_path, [25, 25])
    (tmp_path / "part-00000.h5").unlink()
    cut = (tmp_path / "part-00001.h5").read_bytes()[:-1]
    (tmp_path / "part-00001.h5").write_bytes(cut)
    damaged = json.loads(datafeed("verify", tmp_path, "--json").stdout)["damaged"]
    assert "part-00000.h5" in damaged[0]
    assert f"part-00001.h5: has {len(cut)} bytes, not {len(cut) + 1}" in damaged[1]


def test_verify_tells_of_changed_and_missing_sources(staged: Path) -> None:
    (staged.parent / "raw" / "shard-000.tar").unlink()
    with (staged.parent / "raw" / "shard-001.tar").open("ab") as file:
        file.write(b"more")
    damaged = json.loads(datafeed("verify", staged, "--source", "--json").stdout)["damaged"]
    assert "shard-000.tar" in damaged[0]
    assert "shard-001.tar: has changed since it was staged" in damaged[1]


def test_settings_come_from_argument_then_environment_then_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "raw", 1, 5)
    (tmp_path / "settings.ini").write_text("[datafeed]\nsamples-per-chunk = 3\n")
    arguments = ["stage", tmp_path / "raw", "--to", tmp_path / "feed", "--dry-run", "--json"]
    arguments += ["--config", tmp_path / "settings.ini"]

    def chunk(*more: object, env: dict[str, str] | None = None) -> int:
        done = datafeed(*arguments, *more, env=env)
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["samples_per_chunk"])

    env = {"DATAFEED_SAMPLES_PER_CHUNK": "4"}
    assert chunk() == 3
    assert chunk(env=env) == 4
    assert chunk("--samples-per-chunk", 5, env=env) == 5


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.ini").write_text("[datafeed]\nsample-per-chunk = 3\n")
    done = datafeed("inspect", tmp_path, "--config", tmp_path / "settings.ini")
    assert done.returncode == 2
    assert "unknown option 'sample_per_chunk'" in done.stderr


@pytest.mark.parametrize("command", [["inspect", "feed"], ["cluster", "status"]])
def test_one_file_has_settings_of_all_commands(staged: Path, command: list[str]) -> None:
    file = staged.parent / "settings.ini"
    file.write_text("[datafeed]\nengine = local\nmemcached-mb = 64\nquick = true\n")
    done = datafeed(*command, "--config", file, cwd=staged.parent)
    assert "unknown option" not in done.stderr
    assert done.returncode == (1 if command[0] == "cluster" else 0), done.stderr


@pytest.mark.parametrize("text", ["engine = local\n", "[datafeed\n", "[datafeed]\n\nnoise\n"])
def test_a_file_that_is_no_ini_is_one_line_of_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.ini").write_text(text)
    done = datafeed("inspect", tmp_path, "--config", tmp_path / "settings.ini")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "settings.ini: no INI file" in done.stderr.splitlines()[-1]


def test_inspect_gives_json_for_every_number(tmp_path: Path) -> None:
    odd = {
        "c": np.complex64(1 + 2j),
        "f": np.array([np.nan, np.inf, 1.5]),
        "g": np.full((5, 5), np.nan),
        "b": np.array([True]),
    }
    schema = infer_schema([("0", odd)], "s")
    with PartWriter(tmp_path / "part-00000.h5", schema, 1, ["s"]) as writer:
        writer.append(conform(schema, odd, "s"), "0", 0)
        parts = [writer.close()]
    manifest = Manifest(feed_id="0" * 32, schema=schema, samples_per_chunk=1, parts=parts)
    (tmp_path / "feed.json").write_bytes(manifest.to_bytes())

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    done = datafeed("inspect", tmp_path, "--sample", 0, "--json")
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout, parse_constant=refuse)["fields"]
    assert fields["c"] == "(1+2j)"
    assert fields["f"] == ["nan", "inf", 1.5]
    assert fields["g"] == "float64[5, 5], nan to nan, mean nan"
    assert fields["b"] == [True]


@pytest.mark.parametrize(
    "words",
    [
        ["no-such"],
        ["stage"],
        ["inspect", "feed", "--sample", "x"],
        ["inspect", "feed", "--bogus"],
        ["verify", "FEED", "--cache", "127.0.0.1:1", "--workers", "0"],
    ],
)
def test_wrong_usage_is_one_line(staged: Path, words: list[str]) -> None:
    done = datafeed(*(staged if word == "FEED" else word for word in words))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("verify:")]
    assert line.startswith("datafeed: error: ")


def test_a_system_error_is_one_line(tmp_path: Path) -> None:
    done = datafeed("cluster", "up", "--dir", "/proc/no-such")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("datafeed: error: ")
    assert "/proc/no-such" in line


def test_verbose_adds_the_traceback(staged: Path) -> None:
    shutil.rmtree(staged)
    assert "Traceback" not in datafeed("inspect", staged).stderr
    assert "Traceback" in datafeed("inspect", staged, "--verbose").stderr


def test_settings_of_another_engine_in_the_environment_are_not_for_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "raw", 1, 3)
    words = ["stage", tmp_path / "raw", "--to", tmp_path / "feed"]
    done = datafeed(*words, "--spark-master", "spark://nobody:1")
    assert done.returncode == 2
    assert "--engine local takes no option ['spark_master']" in done.stderr
    monkeypatch.setenv("DATAFEED_SPARK_MASTER", "spark://nobody:1")
    done = datafeed(*words)
    assert done.returncode == 0, done.stderr
