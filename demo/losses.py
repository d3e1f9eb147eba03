"""The two losses of training: what the cells hold, and the words of the answers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import InternVLForConditionalGeneration

from demo.batches import IGNORE, Batch
from demo.draw import COLOURS, SHAPES
from demo.targets import CENTRE, REGION, TARGETS
from demo.tokens import CLIP_MEAN, CLIP_STD

COUNT_CLASSES = 6
COUNTED = len(COLOURS) + len(SHAPES) + 1


class CellHead(nn.Module):
    """Linear heads on soft tokens, thrown away after training: targets of each cell, and counts from their mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.Linear(width, TARGETS)
        self.counts = nn.Linear(width, COUNTED * COUNT_CLASSES)

    def forward(self, soft: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Soft tokens [tiles, 16, width] and targets uint8 [tiles, 16, K] → the mean loss of a tile."""
        wanted = targets.float()
        cells = binary_cross_entropy_with_logits(self.cells(soft).float(), wanted, reduction="sum")
        table = (
            wanted[..., CENTRE:REGION].sum(1).view(-1, len(COLOURS), len(SHAPES))
        )  # [tiles, colours, shapes]
        counts = torch.cat([table.sum(2), table.sum(1), table.sum((1, 2))[:, None]], dim=1)
        logits = self.counts(soft.mean(1)).float().view(-1, COUNT_CLASSES)
        counted = cross_entropy(logits, counts.long().clamp(max=COUNT_CLASSES - 1).view(-1), reduction="sum")
        return (cells + counted) / len(soft)


def normalise(tiles: torch.Tensor) -> torch.Tensor:
    """uint8 [tiles, 3, 112, 112] → float, as the image processor of the checkpoint does."""
    mean, std = torch.tensor(CLIP_MEAN)[:, None, None], torch.tensor(CLIP_STD)[:, None, None]
    return (tiles.float() / 255 - mean) / std


def see(model: InternVLForConditionalGeneration, tiles: torch.Tensor) -> torch.Tensor:
    """Soft tokens [tiles, 16, width] of uint8 tiles."""
    soft: torch.Tensor = model.model.get_image_features(
        normalise(tiles), vision_feature_layer=-1, vision_feature_select_strategy="default"
    ).pooler_output
    return soft


def speak(model: InternVLForConditionalGeneration, batch: Batch, soft: torch.Tensor | None) -> torch.Tensor:
    """Logits [answer tokens, vocabulary] at every place of the batch that has a label, in row-major order."""
    embedded = model.model.language_model.embed_tokens(batch.ids)
    if soft is not None:
        here = (batch.ids == model.config.image_token_id)[..., None]
        embedded = embedded.masked_scatter(here, soft.reshape(-1, soft.shape[-1]).to(embedded.dtype))
    hidden = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask={"full_attention": (~batch.mask).to(embedded.dtype) * -1e9},
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    logits: torch.Tensor = model.lm_head(hidden[batch.labels != IGNORE])
    return logits


def answer_loss(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy of the answers, long ones counted less than by their length."""
    told = batch.labels != IGNORE
    losses = cross_entropy(logits.float(), batch.labels[told], reduction="none")
    weights = batch.weights[told]
    return (losses * weights).sum() / weights.sum()
