"""Hadoop's configuration for the cluster in containers: one host for each daemon, default ports.

Run at the build of the image: ``python3 -m datafeed.cluster.hadoop.container_conf DIR``. The tables
are those of the loopback cluster, less what is only right on one machine.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from datafeed.cluster.hadoop.hadoop_conf import CORE, HDFS, MAPRED, SCHEDULER, YARN, write_site

HADOOP_LIB = "/opt/hadoop/lib"
HADOOP_CONF = "/opt/hadoop/conf"
DATA = "/data"

_CORE = {"fs.defaultFS": "hdfs://namenode:8020", "hadoop.tmp.dir": f"{DATA}/tmp"}
_HDFS = {
    "dfs.replication": "3",
    "dfs.namenode.rpc-address": "namenode:8020",
    "dfs.namenode.rpc-bind-host": "0.0.0.0",
    "dfs.namenode.http-address": "namenode:9870",
    "dfs.namenode.http-bind-host": "0.0.0.0",
    "dfs.namenode.name.dir": f"file://{DATA}/namenode",
    "dfs.datanode.data.dir": f"file://{DATA}/datanode",
    # With three DataNodes a dead one cannot be replaced in a pipeline: write on with the others.
    "dfs.client.block.write.replace-datanode-on-failure.best-effort": "true",
    "dfs.client.socket-timeout": "5000",
    "dfs.permissions.superusergroup": "datafeed",
}
_YARN = {
    "yarn.resourcemanager.hostname": "resourcemanager",
    "yarn.resourcemanager.bind-host": "0.0.0.0",
    "yarn.nodemanager.bind-host": "0.0.0.0",
    "yarn.nodemanager.local-dirs": f"{DATA}/yarn/local",
    "yarn.nodemanager.log-dirs": f"{DATA}/yarn/logs",
    "yarn.node-attribute.fs-store.root-dir": f"file://{DATA}/yarn/attributes",
    "yarn.nodemanager.resource.memory-mb": "2048",
    # A dead NodeManager's tasks move after 20 s, not after 10 minutes.
    "yarn.nm.liveness-monitor.expiry-interval-ms": "20000",
    # The ApplicationMaster asks a dead NodeManager to stop its tasks this long, default 3 minutes,
    # and the job does not end before.
    "yarn.client.nodemanager-connect.max-wait-ms": "10000",
    "yarn.client.nodemanager-connect.retry-interval-ms": "1000",
    "yarn.nodemanager.env-whitelist": "JAVA_HOME,HADOOP_CONF_DIR,HADOOP_HOME,PATH,LANG,TZ",
    "yarn.application.classpath": f"{HADOOP_CONF},{HADOOP_LIB}/*",
}
_MAPRED = {
    "mapreduce.application.classpath": f"{HADOOP_CONF},{HADOOP_LIB}/*",
    "mapreduce.shuffle.port": "13562",
    "yarn.app.mapreduce.am.staging-dir": "/tmp/hadoop-yarn/staging",
    # The ApplicationMaster gives a lost node's tasks to another after this, default 10 minutes.
    "mapreduce.task.timeout": "120000",
}

TABLES: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
    "core-site.xml": (CORE, _CORE),
    "hdfs-site.xml": (HDFS, _HDFS),
    "yarn-site.xml": (YARN, _YARN),
    "capacity-scheduler.xml": (SCHEDULER, {}),
    "mapred-site.xml": (MAPRED, _MAPRED),
}


def containers(loopback: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
    """Return our settings over those loopback ones that name no address, port or folder."""
    shared = {key: text for key, text in loopback.items() if "{" not in text and "127." not in text}
    return shared | dict(ours)


def write_containers(conf_dir: Path) -> None:
    """Write all files of the cluster in containers into a folder, which may be there."""
    # Daemons look for their web pages on the class path, and do not start without the folders.
    for page in ("hdfs", "datanode"):
        (conf_dir / "webapps" / page).mkdir(parents=True, exist_ok=True)
    for name, (loopback, ours) in TABLES.items():
        write_site(conf_dir / name, containers(loopback, ours))
    shutil.copy(Path(__file__).with_name("log4j.properties"), conf_dir)


if __name__ == "__main__":
    write_containers(Path(sys.argv[1]))
