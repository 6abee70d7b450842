#!/bin/sh
# Installed as build/hadoop/bin/hadoop: stands in for Hadoop's own script where only its jars are there.
# pydoop asks it for `classpath` and `version`; `fs` and class names are for people.
set -eu
home=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)

classpath() { # full names: libhdfs does not expand wildcards
    printf '%s' "${HADOOP_CONF_DIR:-$home/conf}"
    printf ':%s' "$home"/lib/*.jar
}

run() {
    exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED \
        --add-opens=java.base/java.io=ALL-UNNAMED --add-opens=java.base/java.net=ALL-UNNAMED \
        -cp "$(classpath)" "$@"
}

case "${1:-}" in
    classpath) classpath; echo ;; # with or without --glob
    version) basename "$home"/lib/hadoop-common-*.jar .jar | sed 's/^hadoop-common-/Hadoop /' ;;
    fs) shift; run org.apache.hadoop.fs.FsShell "$@" ;;
    [a-z]*.*) run "$@" ;;
    *) echo "usage: hadoop classpath [--glob] | version | fs ... | CLASS ..." >&2; exit 2 ;;
esac
