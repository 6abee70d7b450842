"""Java and Hadoop are found where people have them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datafeed import hadoop_home
from datafeed.errors import ClusterError


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor the project has a Hadoop."""
    for name in ("HADOOP_HOME", "HADOOP_CONF_DIR", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(hadoop_home, "PROJECT_HADOOP", tmp_path / "project")


@pytest.fixture
def jar(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    return make


def command(path: Path, output: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_nothing_there_says_what_to_do() -> None:
    with pytest.raises(ClusterError, match=r"set HADOOP_HOME.*make setup.*mvn -f"):
        hadoop_home.jars()
    with pytest.raises(ClusterError, match="install openjdk-17"):
        hadoop_home.java()


def test_project_jars(jar: Callable[[str], Path], tmp_path: Path) -> None:
    common = jar("project/lib/hadoop-common-3.4.2.jar")
    streaming = jar("project/lib/hadoop-streaming-3.4.2.jar")
    conf = tmp_path / "conf"
    assert hadoop_home.classpath(conf) == f"{conf}:{common}:{streaming}"
    assert hadoop_home.bin_dir() == tmp_path / "project" / "bin"


def test_conf_dir_of_the_environment(
    jar: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    jar("project/lib/hadoop-common-3.4.2.jar")
    jar("project/lib/hadoop-streaming-3.4.2.jar")
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
    assert hadoop_home.classpath().startswith("/etc/hadoop:")


def test_tarball_comes_first_and_gives_each_jar_once(
    jar: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar("project/lib/hadoop-common-3.4.2.jar")
    wanted = [
        jar("home/share/hadoop/common/hadoop-common-3.4.1.jar"),
        jar("home/share/hadoop/common/lib/guava-30.jar"),
        jar("home/share/hadoop/tools/lib/hadoop-streaming-3.4.1.jar"),
    ]
    jar("home/share/hadoop/common/hadoop-common-3.4.1-tests.jar")
    jar("home/share/hadoop/yarn/lib/guava-30.jar")
    jar("home/share/hadoop/tools/lib/hadoop-aws-3.4.1.jar")
    monkeypatch.setenv("HADOOP_HOME", str(tmp_path / "home"))
    assert hadoop_home.jars() == wanted
    assert hadoop_home.streaming_jar() == wanted[-1]


def test_hadoop_on_path_is_asked(jar: Callable[[str], Path], tmp_path: Path) -> None:
    common = jar("usr/hadoop/hadoop-common.jar")
    streaming = jar("usr/mapreduce/hadoop-streaming.jar")
    other = jar("usr/mapreduce/hadoop-mapreduce.jar")
    conf = tmp_path / "etc"
    conf.mkdir()
    shell = command(tmp_path / "usr/bin/hadoop", f"{conf}:{common}:{other}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/hadoop").symlink_to(shell)
    assert hadoop_home.jars() == [common, other]
    assert hadoop_home.classpath() == f"{conf}:{common}:{other}:{streaming}"


def test_hadoop_without_streaming(jar: Callable[[str], Path]) -> None:
    jar("project/lib/hadoop-common-3.4.2.jar")
    with pytest.raises(ClusterError, match="no hadoop-streaming jar"):
        hadoop_home.streaming_jar()


def test_hadoop_that_fails_is_named(tmp_path: Path) -> None:
    broken = command(tmp_path / "bin/hadoop")
    broken.write_text("#!/bin/sh\nexit 7\n")
    with pytest.raises(ClusterError, match=r"bin/hadoop classpath --glob` failed.*7"):
        hadoop_home.jars()


def test_java_home_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = command(tmp_path / "jdk/bin/java")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/java").symlink_to(real)
    assert hadoop_home.java() == str(real)
    other = command(tmp_path / "other/bin/java")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "other"))
    assert hadoop_home.java() == str(other)
    monkeypatch.setenv("JAVA_HOME", os.devnull)
    assert hadoop_home.java() == str(real)
