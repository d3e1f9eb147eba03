"""Qwen2.5-VL's geometry. Standard library only."""

from __future__ import annotations

from pathlib import Path

from service.families.native.geometry import NativeGeometry


def read_geometry(folder: Path) -> NativeGeometry:
    """Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported."""
    return NativeGeometry.from_checkpoint(
        folder, family="qwen_vl", architecture="Qwen2_5_VLForConditionalGeneration"
    )
