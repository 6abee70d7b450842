"""The least limit of nested control groups, on made-up trees."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datafeed.cache.parts import mounts
from datafeed.doctor import memory_limit
from datafeed.doctor.memory_limit import memory_limit_bytes

Tree = Callable[[str, str, dict[str, str]], None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Make a tree: a line of mountinfo for its mount, ``/proc/self/cgroup``, files below it."""
    monkeypatch.setattr(mounts, "_LIST", tmp_path / "mountinfo")
    monkeypatch.setattr(memory_limit, "_GROUPS", tmp_path / "cgroup")

    def make(mount: str, groups: str, files: dict[str, str]) -> None:
        (tmp_path / "mountinfo").write_text(mount.replace("HERE", str(tmp_path / "fs")))
        (tmp_path / "cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")

    return make


V2 = "30 23 0:26 / HERE rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 25 0:30 / HERE rw,nosuid - cgroup cgroup rw,memory\n"
JOB = "system.slice/slurmstepd.scope/job_7"


@pytest.mark.parametrize("level", [JOB, f"{JOB}/step_0", f"{JOB}/step_0/user/task_0"])
def test_version_2_any_level_may_have_the_least(tree: Tree, level: str) -> None:
    deepest = f"{JOB}/step_0/user/task_0"
    files = {f"{deepest}/memory.max": "max", f"{JOB}/memory.max": "9000", "memory.max": "max"}
    tree(V2, f"0::/{deepest}\n", files | {f"{level}/memory.max": "7000"})
    assert memory_limit_bytes() == 7000


def test_version_2_pages_are_taken_back_beyond_high(tree: Tree) -> None:
    files = {f"{JOB}/memory.max": "9000", f"{JOB}/memory.high": "5000"}
    tree(V2, f"0::/{JOB}/step_0\n", files)
    assert memory_limit_bytes() == 5000


def test_groups_of_others_do_not_count(tree: Tree) -> None:
    files = {"a/memory.max": "9000", "b/memory.max": "10", "a/below/memory.max": "20"}
    tree(V2, "0::/a\n", files)
    assert memory_limit_bytes() == 9000


def test_version_1_beside_a_version_2_without_memory(tree: Tree) -> None:
    job = "slurm/uid_0/job_7"
    files = {
        "memory.limit_in_bytes": "9223372036854771712",
        f"{job}/memory.limit_in_bytes": "6000",
        f"{job}/step_0/memory.limit_in_bytes": "9223372036854771712",
    }
    groups = f"9:name=systemd:/x\n4:memory:/{job}/step_0\n3:cpu,cpuacct:/y\n0::/\n"
    tree(V1 + V2.replace("HERE", "/nowhere"), groups, files)
    assert memory_limit_bytes() == 6000


@pytest.mark.parametrize(
    ("root", "group"),
    [
        ("/docker/abc", "/docker/abc"),  # a container without a namespace of groups
        ("/docker/abc", "/docker/other"),  # moved since
        ("/", "/../other"),  # a namespace that it was moved out of
        ("/..", "/"),
    ],
)
def test_a_container_has_its_limit_where_it_is_mounted(tree: Tree, root: str, group: str) -> None:
    mount = V2.replace(" / HERE", f" {root} HERE")
    tree(mount, f"0::{group}\n", {"memory.max": "4000", "other/memory.max": "1"})
    assert memory_limit_bytes() == 4000


def test_a_job_in_a_container(tree: Tree) -> None:
    mount = V1.replace(" / HERE", " /docker/abc HERE")
    files = {"memory.limit_in_bytes": "8000", "job/memory.limit_in_bytes": "3000"}
    tree(mount, "4:memory:/docker/abc/job\n", files)
    assert memory_limit_bytes() == 3000


def test_without_groups_there_is_no_limit(tree: Tree) -> None:
    tree("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "", {})
    assert memory_limit_bytes() == float("inf")
