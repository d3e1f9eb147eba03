"""LightOnOCR's geometry, which is Mistral 3's without the tokens between lines: an image is soft tokens alone.

They stand line by line in the place of the one `<|image_pad|>` that the chat template writes; a line's break and the
image's end have names in the tokenizer, which the processors of transformers and vLLM do not use. Model: Taghadouini,
Aubertin and Cavaillès 2025, LightOnOCR-1B, whose images are 1540 pixels long at most. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.domain import Run
from service.families.lighton_ocr.files import read_facts
from service.families.pixtral.geometry import PixtralGeometry


@dataclass(frozen=True, slots=True)
class LightOnOcrGeometry(PixtralGeometry):
    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Reads config.json, the processor's configuration and tokenizer.json of the folder `path`.

        Raises ConfigurationError naming the file and the field that is missing, contradictory or not supported.
        """
        return cls(**read_facts(Path(path)))

    def _lines(self, columns: int, rows: int) -> tuple[Run, ...]:
        return (Run(self.image_token, columns * rows, embeds=True),)
