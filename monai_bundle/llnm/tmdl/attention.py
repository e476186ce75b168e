"""Attention within one sequence, and between an image and a text sequence.

Comes in: tokens (B, N, width). Goes out: tokens of the same shape and, on request, the attention weights (B, heads,
N, M).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from llnm.tmdl.config import TMDLConfig
from llnm.tmdl.embeddings import Tokens

Weights = dict[str, torch.Tensor]


class Projections(nn.Module):
    """Query, key and value of one modality, split into heads (equations 4-5)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Three tensors (B, heads, N, width / heads)."""
        batch, length, _ = tokens.shape

        def split(layer: nn.Linear) -> torch.Tensor:
            return layer(tokens).view(batch, length, self.heads, -1).transpose(1, 2)

        return split(self.query), split(self.key), split(self.value)


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    dropout: float = 0.0,
    need_weights: bool = False,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """softmax(Q K^T / sqrt(d)) V, with the heads joined again: (B, N, width).

    Equation 8 with its misplaced bracket put right. `mask`: (B, M) bool, True where a key may be attended to.
    """
    bias = None if mask is None else mask[:, None, None, :]
    weights = None
    if need_weights:
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        if bias is not None:
            scores = scores.masked_fill(~bias, float("-inf"))
        weights = scores.softmax(dim=-1)
        context = F.dropout(weights, dropout) @ value
    else:
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return context.transpose(1, 2).flatten(2), weights


class SelfAttention(nn.Module):
    """Attention of one sequence to itself, with an output projection."""

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.project = Projections(config.width, config.heads)
        self.out = nn.Linear(config.width, config.width)
        self.attention_dropout = config.attention_dropout
        self.dropout = nn.Dropout(config.attention_dropout)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, Weights]:
        """Tokens (B, N, width) and, if wanted, {"joint": (B, heads, N, N)}."""
        dropout = self.attention_dropout if self.training else 0.0
        query, key, value = self.project(tokens)
        context, weights = attend(query, key, value, mask, dropout, need_weights)
        return self.dropout(self.out(context)), {} if weights is None else {"joint": weights}


class BidirectionalAttention(nn.Module):
    """Each modality attends to itself and to the other one; the two answers are mixed (equations 6-7).

    As printed, the cross term of equations 6 and 7 has the other modality's query, so its length does not fit; the
    query is the modality's own, with key and value of the other. The answer is intra + alpha * cross, or their mean
    (`mixing`).
    """

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.project_image = Projections(config.width, config.heads)
        self.project_text = Projections(config.width, config.heads)
        self.out_image = nn.Linear(config.width, config.width)
        # The released architecture holds this layer too, but never uses it (`shared`).
        self.out_text = nn.Linear(config.width, config.width)
        self.config = config
        self.dropout = nn.Dropout(config.attention_dropout)

    def _mix(self, intra: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
        mixed = intra + self.config.alpha * cross
        return mixed / (1 + self.config.alpha) if self.config.mixing == "mean" else mixed

    def forward(self, image: Tokens, text: Tokens, need_weights: bool) -> tuple[torch.Tensor, torch.Tensor, Weights]:
        """Image (B, N, width) and text values (B, M, width) after the exchange, and the four attentions if wanted."""
        dropout = self.config.attention_dropout if self.training else 0.0
        image_mask, text_mask = image.key_mask, text.key_mask
        image_query, image_key, image_value = self.project_image(image.values)
        text_query, text_key, text_value = self.project_text(text.values)
        within_image, a = attend(image_query, image_key, image_value, image_mask, dropout, need_weights)
        from_text, b = attend(image_query, text_key, text_value, text_mask, dropout, need_weights)
        within_text, c = attend(text_query, text_key, text_value, text_mask, dropout, need_weights)
        from_image, d = attend(text_query, image_key, image_value, image_mask, dropout, need_weights)
        out_text = self.out_image if self.config.output_projection == "shared" else self.out_text
        names = ("image_to_image", "image_to_text", "text_to_text", "text_to_image")
        weights = {name: value for name, value in zip(names, (a, b, c, d), strict=True) if value is not None}
        return (
            self.dropout(self.out_image(self._mix(within_image, from_text))),
            self.dropout(out_text(self._mix(within_text, from_image))),
            weights,
        )
