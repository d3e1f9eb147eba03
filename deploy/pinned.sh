#!/usr/bin/env bash
# Installs those of a list of pins whose names match a pattern, and nothing that they need: a layer of an image for what
# is large and seldom changes.
#   deploy/pinned.sh PYTHON deploy/constraints/cuda.txt 'nvidia-.*|cuda-.*'
set -euo pipefail

usage="usage: deploy/pinned.sh PYTHON PINS PATTERN"
python=${1:?$usage}
pins=${2:?$usage}
pattern=${3:?$usage}

names=$(grep --extended-regexp "^($pattern)==" "$pins") || {
  printf '[pinned] no name in %s matches %s\n' "$pins" "$pattern" >&2
  exit 1
}
# shellcheck disable=SC2086  # a word for each pin
"$python" -m pip install --quiet --disable-pip-version-check --no-deps $names
