#!/bin/sh
# loaders.sh [FOLDER]: an environment of its own for the loaders that `datafeed bench load` is
# measured against and that users do not need. Quick where it is there. What does not install is
# said and left out. Default: build/peers/loaders below the project, where the benchmark looks.
set -eu
cd "$(dirname "$0")/../.."
folder=${1:-build/peers/loaders}
[ ! -e "$folder/.stamp" ] || exit 0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

mkdir -p "$folder"
"${PYTHON:-python3}" -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check"
# Or else the peers replace a CPU torch by the CUDA build, and 6 GB of packages.
grep '^torch==' constraints.txt > "$folder/constraints.txt"
$pip install -q -c "$folder/constraints.txt" torch numpy >&2

for peer in webdataset==1.0.2 grain==0.2.18 'spdl-core==0.8.0 spdl-io==0.8.0' litdata==0.2.76 \
    mosaicml-streaming==0.13.0 nvidia-dali-cuda120==2.4.0; do
    # shellcheck disable=SC2086 # two packages in one entry
    $pip install -q -c "$folder/constraints.txt" $peer >&2 || echo "left out: $peer" >&2
done
# Its wheels are for the CUDA build; streaming wants the name of one class (see stubs/).
$pip uninstall -q -y torchvision >&2 || true

# FFCV is built here, on Debian's libraries.
if ! pkg-config --exists opencv4 libturbojpeg; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        g++ pkg-config libopencv-dev libturbojpeg0-dev >&2 || true
fi
{
    $pip install -q -c "$folder/constraints.txt" 'setuptools<81' wheel numba fastargs assertpy \
        terminaltables pytorch_pfn_extras opencv-python-headless tqdm psutil &&
        $pip install -q --no-build-isolation --no-deps ffcv==1.0.2
} >&2 || echo "left out: ffcv" >&2
touch "$folder/.stamp"
