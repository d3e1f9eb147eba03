import subprocess
import sys
import types

import pytest

from service.engine.plugin import register
from service.engine.plugin.contract import UNPROVED, VARIABLE, PluginSettings

SETTINGS = '{"architecture": "A", "max_tokens": 5, "version": 1}'


def test_a_vllm_that_patchbay_did_not_start_is_left_alone() -> None:
    program = (
        "import sys; from service.engine.plugin import register; register();"
        "print([name for name in ('vllm', 'torch', 'numpy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def registered_with(version: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which architectures the plugin was put in front of."""
    other, model, seen = types.ModuleType("vllm"), types.ModuleType("model"), list[PluginSettings]()
    other.__version__ = version  # type: ignore[attr-defined]
    model.put_in_front = seen.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", other)
    monkeypatch.setitem(sys.modules, "service.engine.plugin.model", model)
    monkeypatch.setenv(VARIABLE, SETTINGS)
    register()
    return [settings.architecture for settings in seen]


@pytest.mark.parametrize("version", ["0.32.0", "0.32.1", "0.33.0", "0.33.0rc1", "0.33.0+cu130"])
def test_a_vllm_that_is_proved_is_taken(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registered_with(version, monkeypatch) == ["A"]


@pytest.mark.parametrize("version", ["0.31.9", "0.34.0", "0.3.2", "0.320.0", "1.32.0", "1.0.0.dev7"])
def test_another_vllm_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(UNPROVED, raising=False)
    with pytest.raises(ValueError) as refused:
        registered_with(version, monkeypatch)
    assert f"proved with vLLM 0.32 and 0.33; this is {version}. ACCEPT_UNPROVED_VLLM=1" in str(refused.value)
    monkeypatch.setenv(UNPROVED, "1")
    assert registered_with(version, monkeypatch) == ["A"]


def test_wrong_settings_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "{}")
    with pytest.raises(ValueError, match=VARIABLE):
        register()
