"""The two losses of training: what the cells hold, and the words of the answers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import InternVLForConditionalGeneration

from demo.batches import IGNORE, Batch
from demo.draw import COLOURS, SHAPES
from demo.targets import CENTRE, COVER, COVER_REGION, DIGIT, REGION
from demo.tokens import CLIP_MEAN, CLIP_STD

COUNT_CLASSES = 6
COUNTED = len(COLOURS) + len(SHAPES) + 1


def _either(flags: torch.Tensor) -> torch.Tensor:
    """Flags [..., n] of what may be there → a distribution [..., n + 1], the last entry for nothing."""
    nothing = (flags.sum(-1, keepdim=True) == 0).float()
    both = torch.cat([(flags > 0).float(), nothing], dim=-1)
    return both / both.sum(-1, keepdim=True)


def _chosen(logits: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Cross-entropy where exactly one of `flags` [..., n] is set, and nothing elsewhere."""
    here = flags.sum(-1) == 1
    if not here.any():
        return logits.sum() * 0.0
    return cross_entropy(logits[here].float(), flags[here].argmax(-1))


class CellHead(nn.Module):
    """Linear heads on soft tokens, thrown away after training.

    For each cell: colour and shape that cover it, and the ninth of the tile where their centre lies; whether an object
    has its centre there and then its colour, shape and ninth; which places of a number have a digit there and then the
    digit. From the mean of the cells: counts.
    Colour and shape are asked apart, as this is learnt several times faster than asking for their 48 pairs.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        colours, shapes = len(COLOURS), len(SHAPES)
        self.parts = (colours + 1, shapes + 1, 1, colours, shapes, 9, 3, 30)
        self.cells = nn.Linear(width, sum(self.parts))
        self.counts = nn.Linear(width, COUNTED * COUNT_CLASSES)
        self.covered = nn.Linear(width, 10)

    def forward(self, soft: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Soft tokens [tiles, 16, width] and targets uint8 [tiles, 16, K] → the loss."""
        wanted = targets.float()
        pairs = (len(COLOURS), len(SHAPES))
        cover = wanted[..., COVER:CENTRE].unflatten(-1, pairs)  # [tiles, 16, colours, shapes]
        centre = wanted[..., CENTRE:REGION].unflatten(-1, pairs)
        digits = wanted[..., DIGIT:COVER_REGION].unflatten(-1, (3, 10))  # [tiles, 16, places, digits]
        said = self.cells(soft).float().split(self.parts, dim=-1)
        classes = [
            cross_entropy(logits.flatten(0, 1), _either(flags).flatten(0, 1))
            for logits, flags in ((said[0], cover.sum(-1)), (said[1], cover.sum(-2)))
        ]
        present = centre.sum((-1, -2)).clamp(max=1)[..., None]
        placed = digits.sum(-1).clamp(max=1)
        return (
            2 * classes[0]
            + 3 * classes[1]
            + 2 * binary_cross_entropy_with_logits(said[2], present)
            + _chosen(said[3], centre.sum(-1))
            + 2 * _chosen(said[4], centre.sum(-2))
            + _chosen(said[5], wanted[..., REGION:DIGIT])
            + 5 * binary_cross_entropy_with_logits(said[6], placed)
            + 2 * _chosen(said[7].unflatten(-1, (3, 10)), digits)
            + self._counted(soft, centre)
            + 3
            * cross_entropy(
                self.covered(soft).float().flatten(0, 1), _either(wanted[..., COVER_REGION:]).flatten(0, 1)
            )
        )

    def _counted(self, soft: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
        table = centre.sum(1)  # [tiles, colours, shapes]
        counts = torch.cat([table.sum(2), table.sum(1), table.sum((1, 2))[:, None]], dim=1)
        logits = self.counts(soft.mean(1)).float().view(-1, COUNT_CLASSES)
        return 2 * cross_entropy(logits, counts.long().clamp(max=COUNT_CLASSES - 1).view(-1))


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


def imitation_loss(soft: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far soft tokens are from those wanted, as a share of the variance of the latter."""
    return (soft.float() - wanted.float()).square().mean() / wanted.float().var()


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
