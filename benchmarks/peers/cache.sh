#!/bin/sh
# cache.sh [FOLDER]: an environment of its own for the peer that `datafeed bench cache` is measured
# against and that users do not need: pylibmc, built on Debian's libmemcached. Quick where it is
# there. Default: build/peers/cache below the project, where the benchmark looks for it.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/peers/cache}
[ ! -e "$folder/.stamp" ] || exit 0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if [ ! -e /usr/include/libmemcached/memcached.h ]; then
    echo "Installing libmemcached-dev" >&2
    as_root apt-get update -qq >&2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends libmemcached-dev zlib1g-dev >&2
fi
"${PYTHON:-python3}" -m venv "$folder"
# numpy and crc32c are what the values of the benchmark are made with.
"$folder/bin/python" -m pip install -q -c constraints.txt pylibmc==1.6.3 numpy crc32c >&2
touch "$folder/.stamp"
