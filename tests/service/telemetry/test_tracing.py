"""Traces are off unless they are asked for, and refused where they cannot work."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.telemetry import tracing

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_spans_go_to_the_standard_path_unless_one_is_given(endpoint: str, url: str) -> None:
    assert tracing.traces_url(endpoint) == url


def test_off_means_none() -> None:
    assert tracing.make_tracing(None, model="m") is None


@pytest.mark.parametrize("missing", tracing.NEEDED)
def test_an_endpoint_without_the_library_is_refused_with_the_way_out(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(module: str) -> ModuleSpec | None:
        if module == missing:
            raise ModuleNotFoundError(module)
        return ModuleSpec(module, None)

    monkeypatch.setattr(tracing, "find_spec", found)
    tracing.check_installed(None)
    with pytest.raises(ConfigurationError, match=r"otlp_endpoint \(http://c:4318\).*patchbay\[otel\]"):
        tracing.make_tracing("http://c:4318", model="m")


def test_the_service_imports_no_opentelemetry_when_it_is_off() -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import service.app.service, service.cli.serve, service.cli.check\n"
        "from service.settings import load\n"
        "from service.app.prepare import prepare\n"
        "service.app.service.Patchbay(prepare(load({}, {})), print).api()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
