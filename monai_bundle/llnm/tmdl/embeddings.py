"""Turns the eight inputs of one view into image tokens and text tokens.

Comes in: the mapping of `TMDL.forward`, views already flattened into the batch. Goes out: image tokens (B, N, width),
text tokens (B, M, width) and the text mask (B, M). An input that a patient lacks is replaced by a learned token that
says "absent".
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from llnm.errors import InputError
from llnm.tmdl.config import (
    AGE_CENTRE,
    AGE_SCALE,
    IMAGE_INPUTS,
    INPUTS,
    PATCH_SIDE,
    PATCHES,
    REPORT_TOKENS,
    SCALAR_INPUTS,
    WORD_VECTOR_WIDTH,
    InputName,
    TMDLConfig,
)

Inputs = Mapping[str, torch.Tensor]


class Embeddings(nn.Module):
    """Patch embedding of the three feature images; linear embedding of word vectors and of each single value."""

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.config = config
        stacked = config.image_tokens == "stacked"
        images = 1 if stacked else len(IMAGE_INPUTS)
        self.patches = nn.Conv2d(3 if stacked else 1, config.width, kernel_size=PATCH_SIDE, stride=PATCH_SIDE)
        self.report = nn.Linear(WORD_VECTOR_WIDTH, config.width)
        # The released code embeds echogenicity and shape with one layer, sex and age with one each.
        self.image_values = nn.Linear(1, config.width)
        self.sex = nn.Linear(1, config.width)
        self.age = nn.Linear(1, config.width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.width)) if config.class_token else None
        self.image_positions = _positions(images * PATCHES + int(config.class_token), config.width)
        self.report_positions = _positions(REPORT_TOKENS, config.width)
        self.scalar_positions = _positions(len(SCALAR_INPUTS), config.width)
        self.absent = _positions(len(INPUTS), config.width) if config.absent_tokens else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Image tokens, text tokens, and the text mask, or None where every token counts."""
        text, mask = self._text(inputs)
        return self._image(inputs), text, mask

    def _replace(self, tokens: torch.Tensor, name: InputName, inputs: Inputs) -> torch.Tensor:
        """`tokens` (B, n, width), with the learned "absent" token where the patient lacks input `name`."""
        absent = inputs.get(f"{name}_absent")
        if absent is None or not bool(absent.any()):
            return tokens
        if self.absent is None:
            raise InputError(
                f"{name}: preset {self.config.preset!r} has no way to go without it; give it or use another preset"
            )
        return torch.where(absent.bool()[:, None, None], self.absent[:, INPUTS.index(name), None], tokens)

    def _image(self, inputs: Inputs) -> torch.Tensor:
        if self.config.image_tokens == "stacked":
            stack = torch.cat([inputs[name] for name in IMAGE_INPUTS], dim=1)
            tokens = self.patches(stack).flatten(2).transpose(1, 2)
        else:
            each = [self.patches(inputs[name]).flatten(2).transpose(1, 2) for name in IMAGE_INPUTS]
            tokens = torch.cat(
                [self._replace(part, name, inputs) for part, name in zip(each, IMAGE_INPUTS, strict=True)], 1
            )
        if self.class_token is not None:
            tokens = torch.cat((self.class_token.expand(len(tokens), -1, -1), tokens), dim=1)
        return self.dropout(tokens + self.image_positions)

    def _text(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor | None]:
        words, report_mask = self._report(inputs)
        age = inputs["age"]
        values = {
            "echogenicity": self.image_values(inputs["echogenicity"][:, None]),
            "shape": self.image_values(inputs["shape"][:, None]),
            "sex": self.sex(inputs["sex"][:, None]),
            "age": self.age(((age - AGE_CENTRE) / AGE_SCALE if self.config.age == "standardised" else age)[:, None]),
        }
        scalars = torch.cat([self._replace(values[name][:, None], name, inputs) for name in SCALAR_INPUTS], dim=1)
        text = torch.cat((words, scalars + self.scalar_positions), dim=1)
        if self.config.report_padding == "unmasked":
            return self.dropout(text), None
        always = torch.ones(len(text), len(SCALAR_INPUTS), dtype=torch.bool, device=text.device)
        return self.dropout(text), torch.cat((report_mask, always), dim=1)

    def _report(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Word tokens (B, 50, width) and their mask; shorter reports are zero-padded, as in the released code."""
        vectors, mask = inputs["report"], inputs["report_mask"].bool()
        if vectors.shape[1] > REPORT_TOKENS:
            raise InputError(f"report: {vectors.shape[1]} tokens are more than {REPORT_TOKENS}; cut the report first")
        padding = REPORT_TOKENS - vectors.shape[1]
        words = self.report(nn.functional.pad(vectors, (0, 0, 0, padding)))
        mask = nn.functional.pad(mask, (0, padding))
        absent = inputs.get("report_absent")
        if absent is not None and bool(absent.any()):
            words = self._replace(words, "report", inputs)
            # One token says "absent"; the other places of that report stay masked.
            first = torch.arange(REPORT_TOKENS, device=mask.device) == 0
            mask = torch.where(absent.bool()[:, None], first[None], mask)
        return words + self.report_positions, mask


def _positions(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))
