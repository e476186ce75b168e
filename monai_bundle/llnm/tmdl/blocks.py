"""The two kinds of transformer block: bidirectional fusion of image and text, then self-attention on the joined tokens.

Comes in: tokens (B, N, width). Goes out: tokens of the same shape and the block's attention weights, if asked for.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import MLPBlock
from torch import nn

from llnm.tmdl.attention import BidirectionalAttention, SelfAttention, Weights
from llnm.tmdl.config import TMDLConfig
from llnm.tmdl.embeddings import Tokens

NORM_EPSILON = 1e-6


def _norm(config: TMDLConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=NORM_EPSILON)


def _mlp(config: TMDLConfig) -> MLPBlock:
    return MLPBlock(config.width, config.mlp_width, config.dropout)


class SelfAttentionBlock(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al., 2021)."""

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = _norm(config), _norm(config)
        self.attention = SelfAttention(config)
        self.mlp = _mlp(config)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor | None, need_weights: bool
    ) -> tuple[torch.Tensor, Weights]:
        """Tokens (B, N, width); `mask` (B, N) bool, True where a token counts."""
        attended, weights = self.attention(self.attention_norm(tokens), mask, need_weights)
        tokens = tokens + attended
        return tokens + self.mlp(self.mlp_norm(tokens)), weights


class FusionBlock(nn.Module):
    """Bidirectional multimodal attention block (equations 4-10), with the residuals of `config.residual`.

    `pre-norm`: one skip around the attention and one around the MLP. `paper`: equations 9-10, where the MLP's input
    is the attention alone and the only skip comes from the block's input.
    """

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.attention_norm_image, self.mlp_norm_image = _norm(config), _norm(config)
        self.attention_norm_text, self.mlp_norm_text = _norm(config), _norm(config)
        self.attention = BidirectionalAttention(config)
        self.mlp_image, self.mlp_text = _mlp(config), _mlp(config)
        self.paper_residual = config.residual == "paper"

    def forward(self, image: Tokens, text: Tokens, need_weights: bool) -> tuple[Tokens, Tokens, Weights]:
        """Image and text tokens after the exchange, with the masks they came with, and the attentions if wanted."""
        attended_image, attended_text, weights = self.attention(
            image.with_values(self.attention_norm_image(image.values)),
            text.with_values(self.attention_norm_text(text.values)),
            need_weights,
        )
        return (
            image.with_values(self._finish(image.values, attended_image, self.mlp_norm_image, self.mlp_image)),
            text.with_values(self._finish(text.values, attended_text, self.mlp_norm_text, self.mlp_text)),
            weights,
        )

    def _finish(self, tokens: torch.Tensor, attended: torch.Tensor, norm: nn.Module, mlp: nn.Module) -> torch.Tensor:
        if self.paper_residual:
            return tokens + mlp(norm(attended))
        tokens = tokens + attended
        return tokens + mlp(norm(tokens))
