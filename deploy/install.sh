#!/usr/bin/env bash
# Installs Patchbay from this folder into a Python environment, on a machine (setup.sh) as in an image (Dockerfile):
#   deploy/install.sh PYTHON gateway|cpu|cuda [EXTRA]
# gateway: neither torch nor vLLM. EXTRA is one more extra of pyproject.toml, such as dev. TORCH_INDEX names a package
# index that has PyTorch's CPU build, for machines whose pip does not find it by itself (unset by default).
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: deploy/install.sh PYTHON gateway|cpu|cuda [EXTRA]"
python=${1:?$usage}
build=${2:?$usage}
began=$SECONDS

say() { printf '[install %3ds] %s\n' $((SECONDS - began)) "$*"; }
fail() { printf '[install] %s\n' "$*" >&2; exit 1; }

pip=("$python" -m pip install --quiet --disable-pip-version-check)
case $build in
  gateway) extras=${3:-} ;;
  cpu | cuda) extras=$build${3:+,$3} ;;
  *) fail "$usage" ;;
esac

if [ "$build" = cpu ]; then
  say "installing PyTorch's CPU build (about 200 MB)"
  "${pip[@]}" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "torch==2.13.0+cpu" ||
    fail "pip found no CPU build of PyTorch 2.13.0. Set TORCH_INDEX to PyTorch's CPU package index and run again (now: '${TORCH_INDEX:-unset}')."
fi
if [ "$build" = gateway ]; then
  say "installing Patchbay's gateway"
else
  say "installing Patchbay and vLLM's $build build (one to five minutes the first time)"
fi
"${pip[@]}" --editable ".${extras:+[$extras]}"
if [ "$build" != gateway ]; then
  say "checking that vLLM's image models import"
  "$python" deploy/torchvision_shim.py
fi
