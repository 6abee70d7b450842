"""Write Hadoop's configuration files; and what is in them for a cluster on one machine.

The tables name what differs from Hadoop's own defaults, and why. `{name}` stands for a port or a
folder of the cluster.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

# JDK 17 closes packages that Hadoop 3.4 reaches into by reflection.
ADD_OPENS = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.util", "java.io", "java.net")
)
# A JVM that lives for seconds wants to start fast: one collector thread, no optimising compiler,
# no statistics file in /tmp.
SMALL_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", *ADD_OPENS)

CORE = {
    "fs.defaultFS": "hdfs://127.0.0.1:{namenode}",
    "hadoop.tmp.dir": "{dir}/tmp",
    # Daemons start at the same time, and wait 5 s for each other: 25 tries instead of 10 of 1 s.
    "ipc.client.connect.max.retries": "25",
    "ipc.client.connect.retry.interval": "200",
}

HDFS = {
    "dfs.replication": "{replication}",
    "dfs.namenode.rpc-address": "127.0.0.1:{namenode}",
    "dfs.namenode.http-address": "127.0.0.1:{namenode_http}",
    "dfs.namenode.name.dir": "file://{dir}/data/namenode",
    "dfs.namenode.safemode.extension": "0",
    "dfs.namenode.fs-limits.min-block-size": "4096",  # tests want many blocks of little data
    # Several DataNodes on one address; a dead one is known after 14 s, not 10 minutes.
    "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    "dfs.heartbeat.interval": "1",
    "dfs.namenode.heartbeat.recheck-interval": "2000",
}

DATANODE = {
    "dfs.datanode.data.dir": "file://{dir}/data/datanode{n}",
    "dfs.datanode.hostname": "{hostname}",
    "dfs.datanode.address": "127.0.0.1:{datanode}",
    "dfs.datanode.ipc.address": "127.0.0.1:{datanode_ipc}",
    "dfs.datanode.http.address": "127.0.0.1:{datanode_http}",
}

YARN = {
    "yarn.resourcemanager.hostname": "127.0.0.1",
    "yarn.resourcemanager.address": "127.0.0.1:{resourcemanager}",
    "yarn.resourcemanager.scheduler.address": "127.0.0.1:{scheduler}",
    "yarn.resourcemanager.resource-tracker.address": "127.0.0.1:{tracker}",
    "yarn.resourcemanager.admin.address": "127.0.0.1:{admin}",
    "yarn.resourcemanager.webapp.address": "127.0.0.1:{resourcemanager_http}",
    "yarn.nodemanager.hostname": "127.0.0.1",
    "yarn.nodemanager.address": "127.0.0.1:{nodemanager}",
    "yarn.nodemanager.localizer.address": "127.0.0.1:{localizer}",
    "yarn.nodemanager.webapp.address": "127.0.0.1:{nodemanager_http}",
    "yarn.nodemanager.aux-services": "mapreduce_shuffle",
    "yarn.nodemanager.local-dirs": "{dir}/yarn/local",
    "yarn.nodemanager.log-dirs": "{dir}/yarn/logs",
    "yarn.node-attribute.fs-store.root-dir": "file://{dir}/yarn/attributes",  # default: in /tmp
    "yarn.log-aggregation-enable": "false",
    # Room for two jobs of two maps each; memory alone decides what runs.
    "yarn.nodemanager.resource.memory-mb": "6144",
    "yarn.nodemanager.resource.cpu-vcores": "8",
    "yarn.scheduler.minimum-allocation-mb": "256",
    # Without cgroups nobody would kill a container over its memory, unless the NodeManager looks.
    "yarn.nodemanager.resource.memory.enforced": "false",
    "yarn.nodemanager.container-monitor.interval-ms": "1000",
    "yarn.nodemanager.vmem-check-enabled": "false",  # a JVM maps far more than it uses
    "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
    # Default 1 s for each step of a container's life.
    "yarn.resourcemanager.nodemanagers.heartbeat-interval-ms": "200",
    "yarn.resourcemanager.connect.retry-interval.ms": "500",
    "yarn.application.classpath": "{classpath}",
    # The marks by which the processes of a cluster are found reach into containers.
    "yarn.nodemanager.env-whitelist": (
        "JAVA_HOME,HADOOP_CONF_DIR,HADOOP_HOME,PATH,LANG,TZ,"
        "DATAFEED_CLUSTER_ID,DATAFEED_CLUSTER_OWNER"
    ),
}

SCHEDULER = {
    "yarn.scheduler.capacity.root.queues": "default",
    "yarn.scheduler.capacity.root.default.capacity": "100",
    "yarn.scheduler.capacity.maximum-am-resource-percent": "0.5",
    "yarn.scheduler.capacity.node-locality-delay": "-1",  # there is one node to wait for
}

MAPRED = {
    "mapreduce.framework.name": "yarn",
    "mapreduce.application.classpath": "{classpath}",
    "mapreduce.shuffle.port": "{shuffle}",
    "mapreduce.jobhistory.address": "127.0.0.1:{history}",  # nobody listens; refuses at once
    "yarn.app.mapreduce.am.resource.mb": "768",  # its heap, and 300 MiB of Java itself
    "yarn.app.mapreduce.am.command-opts": " ".join(("-Xmx300m", *SMALL_JVM)),
    "yarn.app.mapreduce.am.scheduler.heartbeat.interval-ms": "200",
    "mapreduce.map.memory.mb": "768",
    "mapreduce.map.java.opts": " ".join(("-Xmx200m", *SMALL_JVM)),
    "mapreduce.reduce.memory.mb": "768",
    "mapreduce.reduce.java.opts": " ".join(("-Xmx200m", *SMALL_JVM)),
    "mapreduce.task.io.sort.mb": "32",
    "mapreduce.client.progressmonitor.pollinterval": "200",
    "mapreduce.client.completion.pollinterval": "200",
}

_FILES = {
    "core-site.xml": CORE,
    "hdfs-site.xml": HDFS,
    "yarn-site.xml": YARN,
    "capacity-scheduler.xml": SCHEDULER,
    "mapred-site.xml": MAPRED,
}


def write_loopback(conf_dir: Path, values: Mapping[str, object]) -> None:
    """Write all files of a loopback cluster into a new folder.

    Args:
        conf_dir: the folder to make.
        values: what stands for each `{name}` of the tables.

    Raises:
        KeyError: a name has no value.
    """
    # Daemons look for their web pages on the class path, and do not start without the folders.
    for page in ("hdfs", "datanode"):
        (conf_dir / "webapps" / page).mkdir(parents=True)
    for name, table in _FILES.items():
        write_site(conf_dir / name, filled(table, values))
    shutil.copy(Path(__file__).with_name("log4j.properties"), conf_dir)


def filled(table: Mapping[str, str], values: Mapping[str, object]) -> dict[str, str]:
    """Return the table with every `{name}` replaced by its value."""
    return {key: text.format(**values) for key, text in table.items()}


def write_site(path: Path, properties: Mapping[str, str]) -> None:
    """Write one ``*-site.xml`` of Hadoop."""
    root = ElementTree.Element("configuration")
    for name, value in sorted(properties.items()):
        entry = ElementTree.SubElement(root, "property")
        ElementTree.SubElement(entry, "name").text = name
        ElementTree.SubElement(entry, "value").text = value
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def container_classpath(conf_dir: Path, jars: Iterable[Path]) -> str:
    """Return the class path of YARN's containers: comma-separated folders, jars as wildcards."""
    folders = dict.fromkeys(jar.parent for jar in jars)
    return ",".join([str(conf_dir), *(f"{folder}/*" for folder in folders)])
