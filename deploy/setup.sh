#!/usr/bin/env bash
# Makes .venv ready to serve and to measure the embedded model (`setup.sh serve`), or to test as well (`setup.sh test`);
# says what it does, and does nothing twice. PYTHON names the interpreter; install.sh reads TORCH_INDEX.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:?usage: deploy/setup.sh serve|test}
python=${PYTHON:-python3}
began=$SECONDS

say() { printf '[setup %3ds] %s\n' $((SECONDS - began)) "$*"; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

command -v "$python" >/dev/null ||
  fail "there is no '$python' here. Python 3.11 to 3.14 is needed: set PYTHON=/path/to/python3.12."
"$python" deploy/supported.py || exit 1

if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then build=cuda; else build=cpu; fi
extra=demo
[ "$purpose" = test ] && extra=dev

# what is installed is named by what it was made from, so that a changed pyproject.toml installs again; an environment
# that can test can serve
wanted=$(printf '%s\n' "$build" "$PWD" "$("$python" --version)" | cat - pyproject.toml deploy/setup.sh deploy/install.sh deploy/*torch* | sha256sum | cut -c1-16)
for done in .venv/.ready-*; do
  case $done in
    .venv/.ready-test-"$wanted" | .venv/.ready-"$purpose"-"$wanted") exit 0 ;;
  esac
done

if [ ! -x .venv/bin/python ]; then
  say "creating .venv with $("$python" --version)"
  "$python" -m venv .venv
fi
if [ $build = cpu ]; then
  say "no GPU found"
else
  say "GPU found: $(nvidia-smi -L | head -1 | cut -d'(' -f1)"
fi
deploy/install.sh .venv/bin/python $build $extra
rm -f .venv/.ready-"$purpose"-*
touch ".venv/.ready-$purpose-$wanted"
say "ready"
