#!/usr/bin/env bash
# Builds Patchbay's images with podman or docker: deploy/image.sh [cpu|cuda|gateway]... (all of them by default).
# CONTAINER_ENGINE names the program; TORCH_INDEX is handed on to install.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf '[image] %s\n' "$*" >&2; exit 1; }

engine=
silent=
for candidate in ${CONTAINER_ENGINE:-podman docker}; do
  command -v "$candidate" >/dev/null || continue
  if "$candidate" info >/dev/null 2>&1; then
    engine=$candidate
    break
  fi
  silent="$silent $candidate"
done
[ -n "$engine" ] || fail "no container engine answers: install podman or docker${silent:+, or start the one that is here but does not answer:$silent}."

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' service/__init__.py)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[ $# -gt 0 ] || set -- cpu cuda gateway
for target in "$@"; do
  case $target in
    cpu | cuda | gateway) ;;
    *) fail "there is no target '$target'; there are cpu, cuda and gateway." ;;
  esac
  arguments=()
  # podman's own image format has no health check
  [ "${engine##*/}" != podman ] || arguments+=(--format docker)
  [ "$target" != cpu ] || arguments+=(--build-arg "TORCH_INDEX=${TORCH_INDEX:-}")
  printf '[image] %s builds patchbay:%s-%s\n' "$engine" "$version" "$target"
  "$engine" build --target "$target" --tag "patchbay:$version-$target" \
    --label "org.opencontainers.image.version=$version" \
    --label "org.opencontainers.image.revision=$revision" \
    "${arguments[@]}" .
done
