"""Grafana's dashboards and the rules of the service-level objectives, made from code: `python -m helm.dashboards`."""
