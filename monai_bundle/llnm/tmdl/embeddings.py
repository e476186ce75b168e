"""Turns the eight inputs of one view into image tokens and text tokens.

Comes in: the mapping of `TMDL.forward`, views already flattened into the batch. Goes out: image tokens (B, N, width),
text tokens (B, M, width), and which of them count. An input that a patient lacks is replaced by a learned token that
says "absent".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from llnm.errors import InputError
from llnm.tmdl.config import (
    GREY_CENTRE,
    GREY_SCALE,
    IMAGE_INPUTS,
    INPUTS,
    PATCH_SIDE,
    PATCHES,
    REPORT_TOKENS,
    SCALAR_INPUTS,
    STANDARD,
    WORD_VECTOR_WIDTH,
    InputName,
    TMDLConfig,
)

Inputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Tokens:
    """Tokens of one modality, or of both joined.

    `values` (B, N, width); `mask` (B, N) bool, True where one counts; `source` (B, N), the place in `INPUTS` of the
    input that each comes from, -1 for the class token.
    """

    values: torch.Tensor
    mask: torch.Tensor
    source: torch.Tensor

    def with_values(self, values: torch.Tensor) -> Tokens:
        """The same places with other values."""
        return replace(self, values=values)

    @property
    def key_mask(self) -> torch.Tensor | None:
        """The mask for attention; None where every token counts, which is faster."""
        return None if not exporting() and bool(self.mask.all()) else self.mask

    def compact(self, most: int | None = None) -> Tokens:
        """The tokens that count alone, the rows padded to the longest; of rows with more than `most`, some by lot.

        What is masked changes nothing (attention and pooling leave it out), so the network computes the same with less.
        """
        longest = max(int(self.mask.sum(dim=1).max()), 1)
        key = self.mask.float()
        if most is not None and longest > most:
            longest, key = most, key * (1 + torch.rand_like(key))
        order = key.argsort(dim=1, descending=True, stable=True)[:, :longest]
        values = self.values.gather(1, order[..., None].expand(-1, -1, self.values.shape[2]))
        return Tokens(values, self.mask.gather(1, order), self.source.gather(1, order))

    def joined(self, other: Tokens) -> Tokens:
        """These tokens followed by those."""
        both = ((self.values, other.values), (self.mask, other.mask), (self.source, other.source))
        return Tokens(*(torch.cat(pair, dim=1) for pair in both))

    def mean(self) -> torch.Tensor:
        """Mean of the tokens that count, (B, width)."""
        weight = self.mask.unsqueeze(-1).to(self.values.dtype)
        return (self.values * weight).sum(dim=1) / weight.sum(dim=1)

    def mean_and_largest_of_inputs(self) -> torch.Tensor:
        """Mean and largest value of each channel over the tokens of each input that count, (B, inputs * 2 * width).

        An input with one token then weighs as much as one with two hundred, and what shows in a single place (the point
        nearest to the capsule, a calcification, one word of the report) is not thinned out by all the other places.
        """
        places = torch.arange(len(INPUTS), device=self.source.device)
        member = (self.source[:, None] == places[:, None]) & self.mask[:, None]
        count = member.sum(dim=2, keepdim=True)
        mean = member.to(self.values.dtype) @ self.values / count.clamp(min=1)
        largest = [
            self.values.masked_fill(~of_input[..., None], float("-inf")).amax(dim=1) for of_input in member.unbind(1)
        ]
        both = torch.cat((mean, torch.stack(largest, dim=1)), dim=2)
        return torch.where(count > 0, both, torch.zeros_like(both)).flatten(1)


def exporting() -> bool:
    """Whether the network is being traced: then nothing may depend on what this one batch happens to hold."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


class Embeddings(nn.Module):
    """Patch embedding of the three feature images; linear embedding of word vectors and of each single value."""

    def __init__(self, config: TMDLConfig) -> None:
        super().__init__()
        self.config = config
        stacked = config.image_tokens == "stacked"
        images = 1 if stacked else len(IMAGE_INPUTS)
        self.patches = _patch_embedding(3 if stacked else 1, config)
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

    def forward(self, inputs: Inputs) -> tuple[Tokens, Tokens]:
        """Image tokens and text tokens."""
        return self._image(inputs), self._text(inputs)

    def _replace(self, tokens: torch.Tensor, name: InputName, inputs: Inputs) -> torch.Tensor:
        """`tokens` (B, n, width), with the learned "absent" token where the patient lacks input `name`."""
        absent = inputs.get(f"{name}_absent")
        if absent is None or not (exporting() or bool(absent.any())):
            return tokens
        if self.absent is None:
            raise InputError(
                f"{name}: preset {self.config.preset!r} has no way to go without it; give it or use another preset"
            )
        return torch.where(absent.bool()[:, None, None], self.absent[:, INPUTS.index(name), None], tokens)

    def _image(self, inputs: Inputs) -> Tokens:
        if self.config.image_tokens == "stacked":
            stack = torch.cat([inputs[name] for name in IMAGE_INPUTS], dim=1)
            tokens = self._patches(stack)
            # One token holds all three; it is counted as the first of them.
            mask, source = _all_true(tokens), torch.zeros_like(tokens[..., 0], dtype=torch.long)
        else:
            masked = self.config.blank_patches == "masked"
            masks = [self._patch_mask(name, inputs) if masked else None for name in IMAGE_INPUTS]
            each = [self._patches(inputs[name], mask) for name, mask in zip(IMAGE_INPUTS, masks, strict=True)]
            tokens = torch.cat(
                [self._replace(part, name, inputs) for part, name in zip(each, IMAGE_INPUTS, strict=True)], 1
            )
            mask = torch.cat([part for part in masks if part is not None], dim=1) if masked else _all_true(tokens)
            source = _sources([name for name in IMAGE_INPUTS for _ in range(PATCHES)], tokens)
        if self.class_token is not None:
            tokens = torch.cat((self.class_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
            mask = nn.functional.pad(mask, (1, 0), value=True)
            source = nn.functional.pad(source, (1, 0), value=-1)
        return Tokens(tokens + self.image_positions, mask, source)

    def _patches(self, image: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, 196, width) of an image (B, channels, 224, 224), 0-1.

        With `mask` (B, 196) only those are right that it names: the others need not be computed.
        """
        if self.config.values == "standardised":
            # Centred, since a layer norm forgets how large a token is and keeps only which way it points.
            image = (image - GREY_CENTRE) / GREY_SCALE
        if self.config.patch_embedding != "windows":
            tokens: torch.Tensor = self.patches(image).flatten(2).transpose(1, 2)
            return tokens
        cut = image[:, 0].unflatten(2, (-1, PATCH_SIDE)).unflatten(1, (-1, PATCH_SIDE)).transpose(2, 3).flatten(1, 2)
        if mask is None or exporting():
            whole: torch.Tensor = self.patches(cut)
            return whole
        # Most patches show no nodule: each is embedded by itself, so those that count are all that is needed.
        found = self.patches(cut[mask])
        tokens = found.new_zeros(*mask.shape, found.shape[1])
        tokens[mask] = found
        return tokens

    def _patch_mask(self, name: InputName, inputs: Inputs) -> torch.Tensor:
        """Which patches of an image count, (B, 196): all of the margin, elsewhere those that show the nodule.

        In training a share of the margin's is left out by lot. Of an absent image one token counts, which says so.
        """
        image = inputs[name]
        if name == "margin":
            mask = torch.ones(image.shape[0], PATCHES, dtype=torch.bool, device=image.device)
            if self.training and self.config.margin_dropout > 0:
                mask = torch.rand(mask.shape, device=image.device) >= self.config.margin_dropout
        else:
            mask = nn.functional.max_pool2d(image, PATCH_SIDE).flatten(1) > 0
        return _first_where(inputs.get(f"{name}_absent"), mask)

    def _text(self, inputs: Inputs) -> Tokens:
        words, report_mask = self._report(inputs)
        known = {name: inputs[name][:, None] for name in SCALAR_INPUTS}
        if self.config.values == "standardised":
            known |= {name: (known[name] - centre) / scale for name, (centre, scale) in STANDARD.items()}
        values = {
            "echogenicity": self.image_values(known["echogenicity"]),
            "shape": self.image_values(known["shape"]),
            "sex": self.sex(known["sex"]),
            "age": self.age(known["age"]),
        }
        scalars = torch.cat([self._replace(values[name][:, None], name, inputs) for name in SCALAR_INPUTS], dim=1)
        text = torch.cat((words, scalars + self.scalar_positions), dim=1)
        names: list[InputName] = ["report"] * REPORT_TOKENS
        source = _sources([*names, *SCALAR_INPUTS], text)
        if self.config.report_padding == "unmasked":
            return Tokens(text, _all_true(text), source)
        return Tokens(text, nn.functional.pad(report_mask, (0, len(SCALAR_INPUTS)), value=True), source)

    def _report(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Word tokens (B, 50, width) and their mask; shorter reports are zero-padded, as in the released code."""
        vectors, mask = inputs["report"], inputs["report_mask"].bool()
        if vectors.shape[1] > REPORT_TOKENS:
            raise InputError(f"report: {vectors.shape[1]} tokens are more than {REPORT_TOKENS}; cut the report first")
        padding = REPORT_TOKENS - vectors.shape[1]
        words = self.report(nn.functional.pad(vectors, (0, 0, 0, padding)))
        mask = nn.functional.pad(mask, (0, padding))
        absent = inputs.get("report_absent")
        if absent is not None:
            words = self._replace(words, "report", inputs)
        return words + self.report_positions, _first_where(absent, mask)


def _all_true(tokens: torch.Tensor) -> torch.Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)


def _sources(names: Sequence[InputName], tokens: torch.Tensor) -> torch.Tensor:
    """Places in `INPUTS` of the inputs that the tokens come from, (B, N)."""
    places = torch.tensor([INPUTS.index(name) for name in names], device=tokens.device)
    return places.expand(tokens.shape[0], -1)


def _first_where(absent: torch.Tensor | None, mask: torch.Tensor) -> torch.Tensor:
    """The mask (B, N), with the first place alone in the rows that are absent."""
    if absent is None:
        return mask
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    absent = absent.bool()[:, None]
    # Not `where`, which runtimes of ONNX lack for truth values.
    return (absent & first) | (~absent & mask)


class PatchEmbedding(nn.Module):
    """Patches (..., 16, 16) to tokens (..., width) by two convolutions: windows that overlap, then all of them at once.

    A bright dot, a blurred edge or a spicule lies anywhere in its patch: one linear layer sees it only by its mean, and
    windows side by side cut it in two. A last layer of the token by itself lets it say more than a sum. All written as
    products of matrices, of which a CPU takes the gradient faster.
    """

    WINDOW, STEP, CHANNELS = 8, 4, 48

    def __init__(self, width: int) -> None:
        super().__init__()
        self.starts = range(0, PATCH_SIDE - self.WINDOW + 1, self.STEP)
        self.window = nn.Linear(self.WINDOW**2, self.CHANNELS)
        self.patch = nn.Linear(len(self.starts) ** 2 * self.CHANNELS, width)
        self.token = nn.Linear(width, width)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Tokens of patches."""
        corners = [(row, column) for row in self.starts for column in self.starts]
        size = self.WINDOW
        windows = [patches[..., row : row + size, column : column + size].flatten(-2) for row, column in corners]
        seen = nn.functional.gelu(self.window(torch.stack(windows, dim=-2)))
        tokens: torch.Tensor = self.token(nn.functional.gelu(self.patch(seen.flatten(-2))))
        return tokens


def _patch_embedding(channels: int, config: TMDLConfig) -> nn.Module:
    """One or two layers over images (B, channels, 224, 224), or `PatchEmbedding` over patches of a single channel."""
    if config.patch_embedding == "windows":
        return PatchEmbedding(config.width)
    if config.patch_embedding == "linear":
        return nn.Conv2d(channels, config.width, kernel_size=PATCH_SIDE, stride=PATCH_SIDE)
    step = 4
    return nn.Sequential(
        nn.Conv2d(channels, config.width // 2, kernel_size=step, stride=step),
        nn.GELU(),
        nn.Conv2d(config.width // 2, config.width, kernel_size=PATCH_SIDE // step, stride=PATCH_SIDE // step),
    )


def _positions(count: int, width: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, width), std=0.02))
