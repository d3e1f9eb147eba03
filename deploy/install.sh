#!/usr/bin/env bash
# Installs Patchbay from this folder into a Python environment, on a machine (setup.sh) as in an image (Dockerfile):
#   deploy/install.sh PYTHON gateway|cpu|cuda [EXTRA]
# gateway: neither torch nor vLLM. EXTRA is one more extra of pyproject.toml, such as dev. TORCH_INDEX: see cpu_torch.sh.
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
  # shellcheck source=deploy/cpu_torch.sh
  . deploy/cpu_torch.sh
  install_cpu_torch
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
