"""Command lines of Hadoop's daemons: the JVM, its flags, the main class, its own settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from datafeed import hadoop_home
from datafeed.cluster.hadoop.hadoop_conf import SMALL_JVM

_HEAP = "-Xmx256m"  # each daemon then takes 180-240 MB

NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
RESOURCEMANAGER = "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager"
NODEMANAGER = "org.apache.hadoop.yarn.server.nodemanager.NodeManager"


def command(
    main: str,
    conf_dir: Path,
    tmp_dir: Path,
    *,
    settings: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> list[str]:
    """Return the command that runs one daemon in the foreground, its log on stderr.

    Args:
        main: one of the classes above.
        conf_dir: folder of the cluster's configuration.
        tmp_dir: folder for what Java code unpacks; /tmp stays clean.
        settings: Hadoop settings of this daemon alone.
        arguments: what follows them.

    Raises:
        ClusterError: there is no Java, or no Hadoop.
    """
    return [
        hadoop_home.java(),
        _HEAP,
        *SMALL_JVM,
        "-Djava.net.preferIPv4Stack=true",
        f"-Djava.io.tmpdir={tmp_dir}",
        "-Dhadoop.root.logger=INFO,console",
        "-cp",
        hadoop_home.classpath(conf_dir),
        main,
        *(f"-D{key}={value}" for key, value in (settings or {}).items()),
        *arguments,
    ]
