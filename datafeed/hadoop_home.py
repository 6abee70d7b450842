"""Find Java and Hadoop's jars: a real installation first, else what ``make setup`` fetched.

Looked at in this order: ``HADOOP_HOME`` (a tarball's ``share/hadoop``, or a plain ``lib`` folder of
jars), the ``hadoop`` command on PATH, ``build/hadoop`` of this project.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from datafeed.errors import ClusterError

PROJECT_HADOOP = Path(__file__).resolve().parents[1] / "build" / "hadoop"
POM = Path(__file__).parent / "cluster" / "hadoop" / "hadoop-pom.xml"

# Below share/hadoop of a tarball. Of tools/lib only Streaming: the rest is 0.6 GB of clouds.
_TARBALL_JARS = (
    "common/*.jar",
    "common/lib/*.jar",
    "hdfs/*.jar",
    "hdfs/lib/*.jar",
    "mapreduce/*.jar",
    "yarn/*.jar",
    "yarn/lib/*.jar",
    "yarn/timelineservice/*.jar",
    "tools/lib/hadoop-streaming-*.jar",
)


def java_home() -> Path:
    """Return the folder of the JDK or JRE: ``JAVA_HOME``, else where ``java`` on PATH leads.

    Raises:
        ClusterError: there is no Java.
    """
    named = os.environ.get("JAVA_HOME")
    found = shutil.which("java")
    if named and (Path(named) / "bin" / "java").exists():
        return Path(named)
    if not found:
        raise ClusterError(
            "no java: neither JAVA_HOME nor PATH has one; install openjdk-17-jre-headless"
        )
    return Path(found).resolve().parents[1]


def java() -> str:
    """Return the path of the ``java`` executable.

    Raises:
        ClusterError: there is no Java.
    """
    return str(java_home() / "bin" / "java")


def home() -> Path:
    """Return the folder for ``HADOOP_HOME``.

    Raises:
        ClusterError: there is no Hadoop.
    """
    named = os.environ.get("HADOOP_HOME")
    if named and _jars_below(Path(named)):
        return Path(named)
    command = shutil.which("hadoop")
    if command:
        return Path(command).resolve().parents[1]
    if _jars_below(PROJECT_HADOOP):
        return PROJECT_HADOOP
    raise ClusterError(
        "no Hadoop: set HADOOP_HOME, put `hadoop` on PATH, or run `make setup` in the project "
        f"(or: mvn -f {POM} dependency:copy-dependencies -DoutputDirectory=$HADOOP_HOME/lib)"
    )


def bin_dir() -> Path:
    """Return the folder to put on PATH, so that ``hadoop`` is found (pydoop asks it for jars).

    Raises:
        ClusterError: there is no Hadoop.
    """
    return home() / "bin"


def jars() -> list[Path]:
    """Return every jar that HDFS, YARN and Streaming clients and daemons need, once each.

    Raises:
        ClusterError: there is no Hadoop, or its command does not answer.
    """
    folder = home()
    return _jars_below(folder) or [
        p for p in _options(str(folder / "bin" / "hadoop")) if _is_jar(p)
    ]


def streaming_jar() -> Path:
    """Return the jar of Hadoop Streaming, which some distributions keep apart from the rest.

    Raises:
        ClusterError: there is no Hadoop, or it came without Streaming.
    """
    found = jars()
    for folder in dict.fromkeys(p.parent for p in found):
        for jar in sorted(folder.glob("hadoop-streaming*.jar")):
            return jar
    for jar in sorted(home().glob("share/hadoop/tools/lib/hadoop-streaming*.jar")):
        return jar
    raise ClusterError(f"Hadoop at {home()} has no hadoop-streaming jar; install its tools")


def conf_dirs() -> list[Path]:
    """Return the configuration folders in force: ``HADOOP_CONF_DIR``, else what ``hadoop`` names.

    Raises:
        ClusterError: there is no Hadoop, or its command does not answer.
    """
    named = os.environ.get("HADOOP_CONF_DIR")
    if named:
        return [Path(named)]
    command = bin_dir() / "hadoop"
    return [p for p in _options(str(command)) if p.is_dir()] if command.exists() else []


def classpath(conf_dir: Path | None = None) -> str:
    """Return the class path for ``java -cp``: configuration first, every jar by its full name.

    Args:
        conf_dir: folder with ``core-site.xml``; default: the configuration in force (`conf_dirs`).

    Raises:
        ClusterError: there is no Hadoop, or it came without Streaming.
    """
    folders = [conf_dir] if conf_dir else conf_dirs()
    return ":".join(map(str, dict.fromkeys([*folders, *jars(), streaming_jar()])))


def _is_jar(path: Path) -> bool:
    return path.suffix == ".jar"


def _jars_below(folder: Path) -> list[Path]:
    tarball = folder / "share" / "hadoop"
    patterns = (
        [(tarball, p) for p in _TARBALL_JARS] if tarball.is_dir() else [(folder, "lib/*.jar")]
    )
    found = list(_each_once(p for base, pattern in patterns for p in sorted(base.glob(pattern))))
    has_hadoop = any(p.name.startswith("hadoop-common") for p in found)
    return found if has_hadoop else []


def _each_once(paths: Iterator[Path]) -> Iterator[Path]:
    """Drop sources, tests and second copies, which tarballs keep in every lib folder."""
    seen = set()
    for path in paths:
        if path.name not in seen and not path.stem.endswith(("-sources", "-tests")):
            seen.add(path.name)
            yield path


@lru_cache
def _options(command: str) -> list[Path]:
    try:
        answer = subprocess.run(
            [command, "classpath", "--glob"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ClusterError(f"`{command} classpath --glob` failed: {error}") from error
    return [Path(entry) for entry in answer.stdout.strip().split(":") if entry]
