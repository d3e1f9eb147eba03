import subprocess
import sys
import types

import pytest

from service.engine.plugin import register
from service.engine.plugin.contract import VARIABLE

SETTINGS = '{"architecture": "A", "max_tokens": 5, "version": 1}'


def test_a_vllm_that_patchbay_did_not_start_is_left_alone() -> None:
    program = (
        "import sys; from service.engine.plugin import register; register();"
        "print([name for name in ('vllm', 'torch', 'numpy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_another_vllm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = types.ModuleType("vllm")
    other.__version__ = "0.33.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", other)
    monkeypatch.setenv(VARIABLE, SETTINGS)
    with pytest.raises(ValueError, match=r"written for vLLM 0\.32\.x; this is 0\.33\.1"):
        register()


def test_wrong_settings_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    with pytest.raises(ValueError, match=VARIABLE):
        register()
