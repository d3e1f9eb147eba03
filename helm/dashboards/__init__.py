"""Grafana dashboards and the recording rules of the objectives, generated from code: `python -m helm.dashboards`."""
