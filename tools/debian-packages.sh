#!/bin/sh
# debian-packages.sh PYTHON: see to it that what pip and Maven cannot bring is on this machine.
# Quick and silent where all is there; installs where root or passwordless sudo is there; else one
# message with what is missing, and the line that installs it.
set -eu
python=$1
missing='' packages=''

need() { # NAME PACKAGE...: noted when the test before it failed
    missing="$missing${missing:+, }$1"
    shift
    packages="$packages${packages:+ }$*"
}

have() { command -v "$1" >/dev/null 2>&1; }

jdk_package() { # Debian 13 has no JDK 17 any more
    if apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1 || ! have apt-cache; then
        echo openjdk-17-jdk-headless
    else
        echo default-jdk-headless
    fi
}

look() {
    missing='' packages=''
    if have "$python"; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null || need 'venv of Python' python3-venv
        "$python" -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' \
            2>/dev/null || need "Python's headers" python3-dev
    else
        need "Python ($python)" python3 python3-venv python3-dev
    fi
    have memcached || need memcached memcached
    have openssl || need openssl openssl
    have "${JAVA_HOME:+$JAVA_HOME/bin/}javac" || need 'a JDK' "$(jdk_package)"
    have mvn || need Maven maven
    have g++ || need g++ g++
    [ -e /usr/include/tirpc/rpc/xdr.h ] || need "libtirpc's headers" libtirpc-dev
    [ -e /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] ||
        need Fashion-MNIST dataset-fashion-mnist
    have bzip2 || need bzip2 bzip2
    have xz || need xz xz-utils
    have zstd || need zstd zstd
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

look
[ -n "$missing" ] || exit 0
if have apt-get && as_root true 2>/dev/null; then
    echo "Installing what is missing: $missing" >&2
    as_root apt-get update -qq >&2
    look # the name of the JDK's package follows the lists just read
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $packages >&2
    look
    [ -n "$missing" ] || exit 0
fi
echo "Missing: $missing. Install with: sudo apt-get install -y --no-install-recommends $packages" >&2
exit 1
