#!/usr/bin/env bash
# Fetches from Debian's packages what tests drive and pip does not have: Prometheus with promtool, unpacked into .venv
# so that no service is started, and Chromium with ChromeDriver. Where one cannot be had, says which tests will be
# skipped, and goes on.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '[setup] %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }
debian() { have apt-get && have dpkg; }
indexed() { [ "$(id -u)" != 0 ] || apt-cache show "$1" >/dev/null 2>&1 || apt-get -qq update; }

fetch_prometheus() {
  indexed prometheus
  (cd "$1" && apt-get -qq download prometheus 2>/dev/null && dpkg -x prometheus_*.deb .) &&
    install -m 755 "$1"/usr/bin/prometheus "$1"/usr/bin/promtool .venv/bin/
}

fetch_chromium() {
  indexed chromium
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium chromium-driver >/dev/null 2>&1
}

if ! { have prometheus && have promtool; } && [ ! -x .venv/bin/promtool ]; then
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  if debian && say "fetching Prometheus" && fetch_prometheus "$scratch"; then :; else
    say "no prometheus and promtool here: tests of alerts and dashboards will be skipped"
  fi
fi

if ! { have chromedriver && { have chromium || have google-chrome; }; }; then
  if debian && [ "$(id -u)" = 0 ] && say "installing Chromium" && fetch_chromium; then :; else
    say "no Chromium here: tests of the playground will be skipped (Debian: apt-get install chromium chromium-driver)"
  fi
fi
