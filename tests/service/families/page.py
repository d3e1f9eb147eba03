"""docs/families.md, made from the registry: `python -m tests.service.families.page > docs/families.md`.

A family that has no example here is listed with what the registry says of it alone.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.domain import Detail
from service.errors import ConfigurationError
from service.families import load_geometry
from service.families.gemma4.files import BUDGETS
from service.families.loading import choose_tower
from service.families.registry import FOLDERS
from tests.service.families.blip2 import hub as blip2
from tests.service.families.checkpoints import write_files
from tests.service.families.cohere2_vision import hub as cohere2_vision
from tests.service.families.figures import MEASURED, kept
from tests.service.families.gemma3 import hub as gemma3
from tests.service.families.gemma4 import hub as gemma4
from tests.service.families.glm4v import hub as glm4v
from tests.service.families.idefics2 import hub as idefics2
from tests.service.families.idefics3 import hub as idefics3
from tests.service.families.internvl import test_geometry as internvl
from tests.service.families.lighton_ocr import hub as lighton_ocr
from tests.service.families.llava import hub as llava
from tests.service.families.llava_onevision import hub as llava_onevision
from tests.service.families.native import hub as qwen_vl
from tests.service.families.paddleocr_vl import hub as paddleocr_vl
from tests.service.families.paligemma import hub as paligemma
from tests.service.families.pixtral import hub as pixtral
from tests.service.families.qwen2_vl import test_files as qwen2_vl
from tests.service.families.qwen3_5 import hub as qwen3_5
from tests.service.families.qwen3_vl import hub as qwen3_vl

SIZES = ((640, 480), (1920, 1080))
PAGE = Path(__file__).parents[3] / "docs" / "families.md"
TOLD = (
    "greedy requests of none to three images, on a tiny random checkpoint in float32: prompt, every token and log "
    "probabilities within 2e-3 of transformers' `generate`"
)
GREEDY = f"{TOLD} and of the engine's own tower"
AT_LENGTH = f"24 {TOLD} (`make families`)"
IN_BFLOAT16 = (
    "24 greedy requests of none to three images, on a tiny random checkpoint in bfloat16, which vLLM requires on a "
    "CPU: prompt, every token and log probabilities within 0.1 of transformers' `generate` in float32, except for "
    "answers that part where two words are nearly as likely (`make families`)"
)
OF_EIGHT = f"{AT_LENGTH}; 8 also of the engine's own tower (`make test`)"

OF_CELLS = (
    "the image processor's `patch_size` is a cell's there: with a patch's, as released, transformers leaves odd lines "
    "of patches out, and Patchbay rounds sides up to cells, as vLLM does"
)


@dataclass(frozen=True)
class Example:
    """A checkpoint's files, and what the family was compared with."""

    name: str
    config: Mapping[str, Any]
    processor: Mapping[str, Any]
    tokenizer: Mapping[str, Any]
    held: str
    whole: Mapping[str, Any] | None = None
    """processor_config.json"""


EXAMPLES = {
    "blip-2": Example(
        "Salesforce/blip2-opt-2.7b",
        blip2.CONFIG,
        blip2.PROCESSOR,
        blip2.TOKENIZER,
        OF_EIGHT.replace("none to three images", "one image").replace("8 also", "9 also"),
        blip2.WHOLE,
    ),
    "cohere2_vision": Example(
        "CohereLabs/command-a-vision-07-2025",
        cohere2_vision.CONFIG,
        cohere2_vision.PROCESSOR,
        cohere2_vision.TOKENIZER,
        f"{OF_EIGHT}; with `logit_scale` 1, which transformers' class does not apply, and prompts no longer than the "
        "sliding window, in which vLLM has one token more",
        cohere2_vision.WHOLE,
    ),
    "gemma3": Example(
        "google/gemma-3-4b-it",
        gemma3.CONFIG,
        gemma3.PROCESSOR,
        gemma3.TOKENIZER,
        f"{OF_EIGHT}; transformers with causal attention, the only one that vLLM has on a CPU",
        gemma3.WHOLE,
    ),
    "gemma4": Example(
        "google/gemma-4-26B-A4B-it",
        gemma4.CONFIG,
        {},
        gemma4.TOKENIZER,
        f"{OF_EIGHT}; with causal attention, the only one that vLLM has on a CPU, "
        "and with embeddings for each layer, as in E2B",
        gemma4.PROCESSOR,
    ),
    "glm4v": Example(
        "zai-org/GLM-4.1V-9B-Thinking",
        glm4v.CONFIG,
        glm4v.PROCESSOR,
        glm4v.TOKENIZER,
        OF_EIGHT,
    ),
    "glm4v_moe": Example(
        "zai-org/GLM-4.5V",
        {
            **glm4v.CONFIG,
            "architectures": ["Glm4vMoeForConditionalGeneration"],
            "model_type": "glm4v_moe",
            "text_config": {**glm4v.CONFIG["text_config"], "model_type": "glm4v_moe_text"},
        },
        glm4v.PROCESSOR,
        glm4v.TOKENIZER,
        AT_LENGTH,
    ),
    "internvl": Example(
        "OpenGVLab/InternVL3-1B-hf",
        internvl.CONFIG,
        internvl.PROCESSOR,
        internvl.TOKENIZER,
        "64 answers of the embedded model: at least 99 in 100 are those of transformers, and of the engine's own tower",
    ),
    "lighton_ocr": Example(
        "lightonai/LightOnOCR-1B-1025",
        lighton_ocr.CONFIG,
        lighton_ocr.PROCESSOR,
        lighton_ocr.TOKENIZER,
        f"{AT_LENGTH}; 8 in `make test`; vLLM has no tower for what transformers saves; {OF_CELLS}",
        lighton_ocr.WHOLE,
    ),
    "llava": Example(
        "llava-hf/llava-1.5-7b-hf", llava.CONFIG, llava.PROCESSOR, llava.TOKENIZER, f"24 {GREEDY}"
    ),
    "llava_next": Example(
        "llava-hf/llava-v1.6-mistral-7b-hf",
        llava.NEXT_CONFIG,
        llava.NEXT_PROCESSOR,
        llava.TOKENIZER,
        f"24 {GREEDY}",
    ),
    "llava_onevision": Example(
        "llava-hf/llava-onevision-qwen2-7b-ov-hf",
        llava_onevision.CONFIG,
        llava_onevision.PROCESSOR,
        llava_onevision.TOKENIZER,
        f"{OF_EIGHT}; each image as if it were alone, as in vLLM, where "
        "transformers' chat template gives several images of a conversation one tile each (`detail: low` takes as many "
        "soft tokens)",
        llava_onevision.WHOLE,
    ),
    "llava+pixtral": Example(
        "mistral-community/pixtral-12b",
        pixtral.LLAVA_CONFIG,
        pixtral.LLAVA_PROCESSOR,
        pixtral.TOKENIZER,
        AT_LENGTH,
        pixtral.LLAVA_WHOLE,
    ),
    "mistral3": Example(
        "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
        pixtral.CONFIG,
        pixtral.PROCESSOR,
        pixtral.TOKENIZER,
        OF_EIGHT,
        pixtral.WHOLE,
    ),
    "mistral3+qwen3": Example(
        "lightonai/LightOnOCR-1B-1025",
        lighton_ocr.RELEASED_CONFIG,
        lighton_ocr.PROCESSOR,
        lighton_ocr.TOKENIZER,
        f"{OF_EIGHT}; {OF_CELLS}",
        lighton_ocr.WHOLE,
    ),
    "paddleocr_vl": Example(
        "PaddlePaddle/PaddleOCR-VL",
        paddleocr_vl.CONFIG,
        paddleocr_vl.PROCESSOR,
        paddleocr_vl.TOKENIZER,
        f"{OF_EIGHT}; transformers with the table of positions read as in vLLM and in the released code, its edges at "
        "the image's edges, where transformers 5.19 puts corners into corners",
    ),
    "paligemma": Example(
        "google/paligemma-3b-mix-224",
        paligemma.CONFIG,
        paligemma.PROCESSOR,
        paligemma.TOKENIZER,
        f"8 {GREEDY.replace('none to three images', 'no or one image')}; PaliGemma 2, and transformers with causal "
        "attention, the only one that vLLM has on a CPU, and with the cap on Gemma 2's scores. On a GPU, where nothing "
        "was compared, vLLM lets an image's soft tokens see each other, and transformers the whole prompt",
    ),
    "qwen2_vl": Example(
        "Qwen/Qwen2-VL-7B-Instruct",
        qwen2_vl.CONFIG,
        qwen_vl.PROCESSOR,
        qwen_vl.TOKENIZER,
        AT_LENGTH,
    ),
    "qwen2_5_vl": Example(
        "Qwen/Qwen2.5-VL-7B-Instruct", qwen_vl.CONFIG, qwen_vl.PROCESSOR, qwen_vl.TOKENIZER, f"24 {GREEDY}"
    ),
    "qwen3_5": Example(
        "Qwen/Qwen3.5-27B",
        qwen3_5.CONFIG,
        qwen3_5.PROCESSOR,
        qwen3_5.TOKENIZER,
        f"{IN_BFLOAT16}; 8 without such words also of the engine's own tower (`make test`)",
    ),
    "qwen3_5_moe": Example(
        "Qwen/Qwen3.5-35B-A3B",
        qwen3_5.MOE_CONFIG,
        qwen3_5.PROCESSOR,
        qwen3_5.TOKENIZER,
        IN_BFLOAT16,
    ),
    "qwen3_vl": Example(
        "Qwen/Qwen3-VL-8B-Instruct",
        qwen3_vl.CONFIG,
        qwen3_vl.PROCESSOR,
        qwen3_vl.TOKENIZER,
        OF_EIGHT,
    ),
    "qwen3_vl_moe": Example(
        "Qwen/Qwen3-VL-30B-A3B-Instruct",
        {
            **qwen3_vl.CONFIG,
            "architectures": ["Qwen3VLMoeForConditionalGeneration"],
            "model_type": "qwen3_vl_moe",
            "text_config": {**qwen3_vl.CONFIG["text_config"], "model_type": "qwen3_vl_moe_text"},
        },
        qwen3_vl.PROCESSOR,
        qwen3_vl.TOKENIZER,
        AT_LENGTH,
    ),
    "smolvlm": Example(
        "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        idefics3.CONFIG,
        idefics3.PROCESSOR,
        idefics3.TOKENIZER,
        "tower alone; layout and geometry are those of `idefics3`, whose answers are compared",
        idefics3.WHOLE,
    ),
    "idefics2": Example(
        "HuggingFaceM4/idefics2-8b",
        idefics2.CONFIG,
        idefics2.PROCESSOR,
        idefics2.TOKENIZER,
        f"{AT_LENGTH}; 8 in `make test`; vLLM has no tower to compare with",
        idefics2.WHOLE,
    ),
    "idefics3": Example(
        "HuggingFaceM4/Idefics3-8B-Llama3",
        idefics3.IDEFICS3_CONFIG,
        idefics3.IDEFICS3_PROCESSOR,
        idefics3.TOKENIZER,
        OF_EIGHT,
        idefics3.IDEFICS3_WHOLE,
    ),
}
"""By model_type."""


HEAD = """\
# Model families

Generated by `make docs`; do not edit. Checkpoints of these `model_type`s are encoded by Patchbay; all others that vLLM
serves are passed through to the engine's own tower. [add-a-family.md](add-a-family.md) says how to add one.

Soft tokens of an image are given as `low` / `auto` / `high`. `auto` is what an image gets that is alone in its request;
several images share half of the context. `max_image_tokens` lowers `auto` and `high` where a family can.

| `model_type` | checkpoints | example | 640×480 | 1920×1080 | blocks on a CPU |
|---|---|---|---|---|---|
"""
COMPARED = """
## What each is compared with

For every family, tests compare pixels and counts of hundreds of image sizes with transformers' processor, and the tower
with transformers' `get_image_features`: within 1e-4 in float32, relative to the length of a row, and within one in a
hundred in bfloat16. Answers are compared on vLLM's CPU build:

"""
BUDGETED = """
The processor of a Gemma 4 has one of five budgets, here 280. With {},
an image of 640×480 has {} soft tokens and one of 1920×1080 has
{}.
"""
FOUND = """
## What the last runs at length found

`make families` on tiny random checkpoints (`internvl`: the embedded model), on a CPU.

"""
fill = partial(textwrap.fill, width=120, subsequent_indent="  ", break_on_hyphens=False)


def page() -> str:
    rows = "".join(f"{_row(model_type)}\n" for model_type in sorted(FOLDERS))
    held = "".join(f"- `{name}`: {EXAMPLES[name].held}.\n" for name in sorted(EXAMPLES))
    return f"{HEAD}{rows}{_budgets()}{COMPARED}{held}{_figures()}"


def _budgets() -> str:
    """Soft tokens with each of Gemma 4's budgets, as a paragraph."""
    example = EXAMPLES["gemma4"]
    largest = {"image_processor": {**gemma4.IMAGES, "max_soft_tokens": max(BUDGETS)}}
    with TemporaryDirectory() as written:
        path = _write(Path(written), replace(example, whole={**gemma4.PROCESSOR, **largest}))
        geometry = load_geometry(path)
        told = [
            " / ".join(f"{geometry.limited(most).plan(*size, Detail.HIGH).tokens:,}" for most in BUDGETS)
            for size in SIZES
        ]
    return BUDGETED.format(" / ".join(f"{budget:,}" for budget in BUDGETS), *told)


def _figures() -> str:
    """What runs at length found in every family; a column is left out until there is one of each."""
    found, names = kept(), sorted(FOLDERS)
    columns = [measured for measured in MEASURED if all(measured in found.get(name, {}) for name in names)]
    if not columns:
        return ""
    about = "".join(f"{fill(f'- {MEASURED[name][0]}: {MEASURED[name][1]}.')}\n" for name in columns)
    head = f"| `model_type` | {' | '.join(MEASURED[name][0] for name in columns)} |\n"
    rows = (f"| `{name}` | {' | '.join(found[name][measured] for measured in columns)} |\n" for name in names)
    return f"{FOUND}{about}\n{head}|{'---|' * (1 + len(columns))}\n{''.join(rows)}"


def _row(model_type: str) -> str:
    folder = import_module(f"service.families.{FOLDERS[model_type]}")
    about = str(folder.__doc__).strip().partition("\n")[0].rstrip(".")
    example = EXAMPLES.get(model_type)
    if example is None:
        return f"| `{model_type}` | {about} | | | | |"
    with TemporaryDirectory() as written:
        path = _write(Path(written), example)
        tokens = " | ".join(_tokens(path, size) for size in SIZES)
        return f"| `{model_type}` | {about} | `{example.name}` | {tokens} | {_blocks(path)} |"


def _write(folder: Path, example: Example) -> Path:
    return write_files(
        folder,
        {
            "config": dict(example.config),
            "preprocessor_config": dict(example.processor),
            "processor_config": None if example.whole is None else dict(example.whole),
            "tokenizer": dict(example.tokenizer),
            "tokenizer_config": {},
        },
    )


def _tokens(folder: Path, size: tuple[int, int]) -> str:
    geometry = load_geometry(folder)
    levels = (Detail.LOW, Detail.AUTO, Detail.HIGH)
    return " / ".join(f"{geometry.plan(*size, level).tokens:,}" for level in levels)


def _blocks(folder: Path) -> str:
    """Whether `kernels.blocks` computes them, or transformers."""
    try:
        return choose_tower(folder, device="cpu", dtype="float32", body="fused").body
    except ConfigurationError as error:
        if "the tower's layer is another" in str(error):
            return "transformers"
        raise


if __name__ == "__main__":
    sys.stdout.write(page())
