"""Asks a checkpoint directly, by transformers' own processor and `generate`: the reference for the service."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, InternVLForConditionalGeneration

from demo.cases import Case


class Reference:
    """A checkpoint in Hugging Face format, loaded by transformers on the CPU."""

    def __init__(self, directory: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(directory)
        self._model = InternVLForConditionalGeneration.from_pretrained(directory).eval()

    def prompt(self, pictures: tuple[Image.Image, ...], text: str) -> str:
        """The conversation as the chat template writes it."""
        content = [*({"type": "image"} for _ in pictures), {"type": "text", "text": text}]
        written: str = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return written

    @torch.no_grad()
    def ask(
        self, pictures: tuple[Image.Image, ...], text: str, detail: str = "auto", tokens: int = 48
    ) -> str:
        """The greedy answer. `detail` low is one tile a picture, as in the service; otherwise the processor decides."""
        kwargs = {"max_patches": 1} if detail == "low" else {}
        inputs = self._processor(
            images=list(pictures) or None,
            text=self.prompt(pictures, text),
            return_tensors="pt",
            images_kwargs=kwargs,
        )
        given = {
            name: inputs[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in inputs
        }
        out = self._model.generate(**given, max_new_tokens=tokens, do_sample=False)
        answer: str = self._processor.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer

    def answers(self, cases: list[Case]) -> list[str]:
        """Answers to cases, one by one."""
        return [self.ask(case.pictures, case.text, case.detail) for case in cases]
