"""The JVM that Spark's scripts start lives no longer than the process that wanted it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datafeed.staging.engines.spark.session import _dying_java


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What stands for java in Spark's scripts, over a java that tells its arguments."""
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\necho "$@"\n')
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    return str(_dying_java(tmp_path / "scratch") / "bin" / "java")


def test_it_runs_java_for_us(program: str) -> None:
    run = subprocess.run([program, "-cp", "a b"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "-cp a b\n")


def test_it_runs_nothing_for_one_who_is_gone(program: str) -> None:
    """As after kill -9 of the command while Spark's scripts start; another process asks here."""
    code = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    words = [sys.executable, "-c", code, program, "-cp", "x"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (1, "")


def test_the_first_jvm_of_the_scripts_runs_for_a_shell(program: str) -> None:
    words = ["sh", "-c", f"{program} org.apache.spark.launcher.Main; echo over"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert run.stdout == "org.apache.spark.launcher.Main\nover\n"
    assert os.access(program, os.X_OK)
