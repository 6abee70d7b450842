#!/bin/sh
# build-pydoop.sh PYTHON OUT: OUT/pydoop-2.0.0-*.whl for that interpreter.
# pydoop has no wheels and its source needs old jars, old setuptools and libtirpc; see each line.
set -eu
python=$1 out=$(realpath -m "$2")
tools=$(cd "$(dirname "$0")" && pwd)
work=$out/work

[ -d "$work/jars" ] || "$tools/fetch-jars.sh" "$tools/pydoop-pom.xml" "$work/jars"

# pydoop's setup asks a `hadoop` for the class path it compiles against.
mkdir -p "$work/bin" "$work/conf"
cat > "$work/bin/hadoop" <<'HADOOP'
#!/bin/sh
home=$(cd "$(dirname "$0")/.." && pwd)
case "$1" in
    classpath) printf '%s' "$home/conf"; printf ':%s' "$home"/jars/*.jar; echo ;;
    version) echo "Hadoop 3.4.2" ;; # the libhdfs sources pydoop picks by it work with 3.4.2 jars
esac
HADOOP
chmod +x "$work/bin/hadoop"

# setuptools 81 drops pkg_resources, which pydoop's setup imports.
[ -x "$work/venv/bin/python" ] || "$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -q 'setuptools<81' wheel >&2

java_home=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}
rm -f "$out"/pydoop-*.whl # of another Python
# glibc has no rpc/xdr.h of its own any more; libtirpc has.
PATH=$work/bin:$PATH HADOOP_HOME=$work HADOOP_CONF_DIR=$work/conf JAVA_HOME=$java_home \
    CPATH=/usr/include/tirpc LDFLAGS=-ltirpc \
    "$work/venv/bin/python" -m pip wheel -q --no-build-isolation --no-deps \
    --wheel-dir "$out" pydoop==2.0.0 >&2
rm -rf "$work"
