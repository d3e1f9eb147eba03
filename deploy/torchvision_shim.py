"""Makes torchvision import in this virtual environment, and touches nothing where it already does.

    .venv/bin/python deploy/torchvision_shim.py

Run with the environment's own Python after its packages are installed; standard library only. Package
indexes offer torchvision, torchaudio and torchcodec as CUDA builds, which do not load beside a CPU torch:

- torchvision fails on two missing operator schemas: `patchbay_torchvision_schemas.py` (see there) goes into
  site-packages and supplies them;
- torchaudio and torchcodec cannot be mended and are not needed, but transformers imports them where they are
  installed: they are removed.

Afterwards torchvision and, where vLLM is installed, its vision models are imported as proof. Exit status 0:
all is well. 1: it is not, and the last line says why.
"""

import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HOOK = Path(__file__).with_name("patchbay_torchvision_schemas.py")
MISSING = "operator torchvision::nms does not exist"
PROBE = """
import sys, torchvision
hook = sys.modules.get("patchbay_torchvision_schemas")
print("needed" if hook and hook.defined else "not needed")
"""
NOT_NEEDED = ("torchaudio", "torchcodec")
VLLM_MODELS = "import vllm.model_executor.models.interns1, vllm.model_executor.models.internvl"


def run(code: str) -> subprocess.CompletedProcess[str]:
    # -P: a folder of the same name in the current directory must not stand in for the installed package
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)


def last_line(result: subprocess.CompletedProcess[str]) -> str:
    return (result.stderr.strip() or "no output").splitlines()[-1]


def mend_torchvision(site: Path) -> tuple[str, bool]:
    """What was found or done, as a line, and whether anything changed; exits with a sentence on failure."""
    module, pth = site / HOOK.name, site / f"{HOOK.stem}.pth"
    current = module.is_file() and pth.is_file() and module.read_bytes() == HOOK.read_bytes()
    first = run(PROBE)
    if first.returncode == 0 and first.stdout.strip() == "not needed":
        for leftover in (module, pth):
            leftover.unlink(missing_ok=True)
        return "torchvision: imports by itself.", False
    if first.returncode == 0 and current:
        return "torchvision: imports, with the two operator schemas added earlier.", False
    if first.returncode != 0 and MISSING not in first.stderr:
        sys.exit(f"torchvision: cannot be imported, and not for lack of operator schemas: {last_line(first)}")
    shutil.copyfile(HOOK, module)
    pth.write_text(f"import {HOOK.stem}\n")
    second = run(PROBE)
    if second.returncode != 0:
        sys.exit(f"torchvision: still cannot be imported after the schemas were added: {last_line(second)}")
    return f"torchvision: its build does not match this torch; added two operator schemas ({module}).", True


def remove_if_broken(name: str) -> tuple[str, bool]:
    """Like `mend_torchvision`; removes a package whose library does not load."""
    if importlib.util.find_spec(name) is None:
        return f"{name}: not installed, not needed.", False
    if run(f"import {name}").returncode == 0:
        return f"{name}: imports by itself.", False
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "uninstall", "-y", name]
    removal = subprocess.run(pip, capture_output=True, text=True)
    if removal.returncode != 0:
        sys.exit(f"{name}: does not match this torch and cannot be removed: {last_line(removal)}")
    return f"{name}: its build does not match this torch and nothing needs it; removed.", True


def main() -> None:
    if importlib.util.find_spec("torchvision") is None:
        sys.exit("torchvision: not installed in this environment; install Patchbay with its engine first.")
    said, vision_changed = mend_torchvision(Path(sysconfig.get_path("purelib")))
    print(said, flush=True)
    changed = vision_changed
    for name in NOT_NEEDED:
        said, removed = remove_if_broken(name)
        print(said, flush=True)
        changed |= removed
    if changed and importlib.util.find_spec("vllm") is not None:
        models = run(VLLM_MODELS)
        if models.returncode != 0:
            sys.exit(f"vLLM: its vision models cannot be imported: {last_line(models)}")
        print("vLLM: its vision models import.")


if __name__ == "__main__":
    main()
