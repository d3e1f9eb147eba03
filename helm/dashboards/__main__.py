"""Writes the generated files into the chart: `python -m helm.dashboards`."""

from __future__ import annotations

from helm.dashboards.files import made

if __name__ == "__main__":
    for path, text in made().items():
        path.write_text(text)
