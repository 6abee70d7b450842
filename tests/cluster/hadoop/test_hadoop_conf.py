"""Hadoop's configuration files."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from datafeed.cluster.hadoop import hadoop_conf
from datafeed.cluster.hadoop.launch import choose_ports


def read(path: Path) -> dict[str, str]:
    entries = ElementTree.parse(path).getroot()
    return {e.findtext("name", ""): e.findtext("value", "") for e in entries}


def test_every_name_in_the_tables_gets_its_value(tmp_path: Path) -> None:
    ports = choose_ports(n_datanodes=2)
    values = {"dir": tmp_path, "replication": 2, "classpath": "/conf,/lib/*", **ports}
    hadoop_conf.write_loopback(tmp_path / "conf", values)
    core = read(tmp_path / "conf" / "core-site.xml")
    assert core["fs.defaultFS"] == f"hdfs://127.0.0.1:{ports['namenode']}"
    assert read(tmp_path / "conf" / "hdfs-site.xml")["dfs.replication"] == "2"
    assert read(tmp_path / "conf" / "yarn-site.xml")["yarn.application.classpath"] == "/conf,/lib/*"
    assert len(set(ports.values())) == len(ports)


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        hadoop_conf.write_loopback(tmp_path / "conf", {"dir": tmp_path})


def test_values_are_escaped(tmp_path: Path) -> None:
    hadoop_conf.write_site(tmp_path / "site.xml", {"a": "x < y & z"})
    assert read(tmp_path / "site.xml") == {"a": "x < y & z"}


def test_containers_get_folders_of_jars() -> None:
    jars = [Path("/a/1.jar"), Path("/a/2.jar"), Path("/b/3.jar")]
    assert hadoop_conf.container_classpath(Path("/conf"), jars) == "/conf,/a/*,/b/*"
