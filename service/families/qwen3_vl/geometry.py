"""Qwen3-VL's geometry, which is Qwen2-VL's with patches of 16 pixels, and soft tokens that are several levels wide.

Standard library only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from service.families.native.geometry import NativeGeometry
from service.families.qwen3_vl.files import SIZES, read_levels


def read_geometry(folder: Path) -> NativeGeometry:
    """Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported."""
    geometry = NativeGeometry.from_checkpoint(
        folder,
        family="qwen3_vl",
        architecture="Qwen3VLForConditionalGeneration",
        patch=SIZES["patch_size"],
    )
    levels = len(read_levels(folder))
    facts = replace(
        geometry.facts,
        row_widths=1 + levels,
        # vLLM takes the levels of DeepStack only where it holds the tower that would make them
        engine_tower="loaded" if levels else "absent",
    )
    return replace(geometry, facts=facts)
