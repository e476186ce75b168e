"""TMDL: the thyroid multimodal deep-learning transformer (Shen et al. 2025, Fig. 1b and equations 4-11).

Comes in: eight inputs of a patient's view or views. Goes out: logits and, on request, the pooled features and every
attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llnm.tmdl.attention import Weights
from llnm.tmdl.blocks import NORM_EPSILON, FusionBlock, SelfAttentionBlock
from llnm.tmdl.config import INPUTS, VIEW_INPUTS, TMDLConfig, preset_config
from llnm.tmdl.direct import STANDARD_MOMENTUM, DirectWay, scaled
from llnm.tmdl.embeddings import Embeddings, Tokens, exporting


@dataclass(frozen=True)
class TMDLOutput:
    """`logits` (B, K); `features` (B, V, width) of each view; `attention`: a mapping for each block, or empty.

    `level_logits` (B, levels - 1): of a level above the first, above the second, ..., given metastasis; None without
    that head. `finding_logits` (B, K): of each of `config.seen`, from the views alone; None without that head.
    `direct_logits` (B, K): the part of `logits` that `DirectWay` adds; None without it.
    """

    logits: torch.Tensor
    features: torch.Tensor
    attention: tuple[Weights, ...] = ()
    level_logits: torch.Tensor | None = None
    finding_logits: torch.Tensor | None = None
    direct_logits: torch.Tensor | None = None

    @property
    def probability(self) -> torch.Tensor:
        """Probability of metastasis, (B,): one sigmoid of the last logit (the released code adds a softmax)."""
        return torch.sigmoid(self.logits[:, -1])

    @property
    def level_probabilities(self) -> torch.Tensor | None:
        """Probability of each level given metastasis, (B, levels); None without that head."""
        return None if self.level_logits is None else probabilities_of_levels(self.level_logits)

    @property
    def finding_probabilities(self) -> torch.Tensor | None:
        """Probability of each of `config.seen`, (B, K); None without that head."""
        return None if self.finding_logits is None else torch.sigmoid(self.finding_logits)


def probabilities_of_levels(logits: torch.Tensor) -> torch.Tensor:
    """Probability of each level, (B, levels), from the logits of exceeding each but the last, (B, levels - 1)."""
    above = torch.sigmoid(logits)
    return -torch.diff(above, dim=1, prepend=torch.ones_like(above[:, :1]), append=torch.zeros_like(above[:, :1]))


class OrdinalHead(nn.Module):
    """One score and increasing cut points: logits of exceeding each level but the last (Cao et al. 2020, CORAL).

    The cut points are a first one and steps that cannot be negative, so the levels stay in order for every patient.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        self.first = nn.Parameter(torch.zeros(1))
        self.steps = nn.Parameter(torch.zeros(levels - 2))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (B, width) to logits (B, levels - 1)."""
        cuts = torch.cat((self.first, nn.functional.softplus(self.steps))).cumsum(dim=0)
        logits: torch.Tensor = self.score(features) - cuts
        return logits


class TMDL(nn.Module):
    """The network, built from a `TMDLConfig`; `TMDL.from_preset` names the usual ones."""

    told: torch.Tensor

    def __init__(self, config: TMDLConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TMDLConfig()
        self.embeddings = Embeddings(config)
        self.token_dropout = nn.Dropout(config.dropout)
        self.fusion = nn.ModuleList(FusionBlock(config) for _ in range(config.fusion_depth))
        self.joint = nn.ModuleList(SelfAttentionBlock(config) for _ in range(config.depth - config.fusion_depth))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        # Of each input two values a channel, as it was embedded and as the blocks left it.
        inputs = 2 * len(INPUTS) * config.width
        self.join = nn.Linear(2 * inputs, config.width) if config.pooling == "inputs" else None
        self.head: nn.Module
        if config.head == "linear":
            self.head = nn.Linear(config.width, config.logits)
        else:
            hidden = nn.Linear(config.width, config.width)
            self.head = nn.Sequential(
                hidden, nn.GELU(), nn.Dropout(config.dropout), nn.Linear(config.width, config.logits)
            )

        of_risk = config.logits if config.direct else 0
        self.level_head = OrdinalHead(config.width + of_risk, config.levels) if config.levels else None
        # It sees the view's own inputs (which stand first) as they were embedded: no word of the report reaches it.
        self._of_view = 2 * len(VIEW_INPUTS) * config.width
        # What is shown, brought to one scale: a rare trait is soon learnt, too, and decay means the same for all.
        self.standard = (
            nn.BatchNorm1d(self._of_view, affine=False, momentum=STANDARD_MOMENTUM) if config.direct else None
        )
        seen = len(config.seen)
        self.finding_head = nn.Linear(self._of_view, seen) if seen else None
        self.direct = DirectWay(config) if config.direct else None
        if config.finding_head:
            # Of which findings anything was told in training; of the others the head says nothing.
            self.register_buffer("told", torch.zeros(seen, dtype=torch.bool))

    @classmethod
    def from_preset(cls, preset: str = "default", size: str = "base", **changes: Any) -> TMDL:
        """Fresh network of preset `default`, `paper` or `released`, size `base` or `small`; choices changed by name."""
        return cls(preset_config(preset, size, **changes))

    def load_released_state_dict(self, state_dict: Mapping[str, torch.Tensor]) -> None:
        """Take weights that bear the released architecture's names; see `llnm.tmdl.released`.

        Raises InputError unless the network was built from preset `released`, and on any name missing or left over.
        """
        from llnm.tmdl.released import translate

        self.load_state_dict(translate(state_dict, self.config))

    def forward(self, inputs: Mapping[str, torch.Tensor], attention: bool = False) -> TMDLOutput:
        """Logits of a batch of patients.

        `inputs`: `location, texture, margin` (B, 1, 224, 224) in 0-1; `echogenicity, shape` (B,); `report` (B, T,
        768) word vectors; `report_mask` (B, T) bool; `sex` (0 female, 1 male) and `age` (years) (B,). For V views of
        a patient the first five have a view axis after B, and `view_mask` (B, V) bool says which views exist.
        `<input>_absent` (B,) or (B, V) bool marks what is lacking. `capsule_distance` (B,) or (B, V) in mm, below 0
        where it is not known, belongs to the location: CPDT is a share of the gland's depth, which differs.
        """
        flat, patients, views = _flatten_views(inputs)
        image, text = self.embeddings(flat)
        if not (attention or exporting()):
            some = self.training and self.config.blank_patches == "masked"
            image, text = image.compact(self.config.most_patches if some else None), text.compact()
        image, text = (tokens.with_values(self.token_dropout(tokens.values)) for tokens in (image, text))
        embedded = None if self.join is None else image.joined(text).mean_and_largest_of_inputs()
        tokens, weights = self._encode(image, text, attention)
        features = self._pool(tokens, embedded).view(patients, views, -1)
        view_mask = inputs.get("view_mask")
        if view_mask is None:
            view_mask = torch.ones(patients, views, dtype=torch.bool, device=features.device)
        share = (view_mask / view_mask.sum(dim=1, keepdim=True).clamp(min=1)).to(features.dtype).unsqueeze(-1)
        findings = None if embedded is None else self._findings(self._of_both_views(embedded, share))
        logits = self._of_views(self.head, features, share)
        direct = None
        if self.direct is not None and findings is not None:
            direct = self.direct(inputs, torch.sigmoid(findings) * self.told)
            # Each learns by a loss of its own (`MetastasisLoss`), so that neither leaves its part to the other.
            logits = logits + (direct.detach() if self.training else direct)
        return TMDLOutput(
            logits,
            features,
            tuple(weights),
            self._levels(features, share, direct),
            findings,
            direct,
        )

    def _of_both_views(self, embedded: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """What the view's own inputs show in both views (B * V, inputs * 2 * width) together, (B, inputs * 2 * width).

        The mean of their means, and the largest of their largest: the point nearest to the capsule lies in one of them.
        Without a direct way it is the mean of both. `share` (B, V, 1): 0 of a view that does not exist.
        """
        patients, views, _ = share.shape
        embedded = embedded.view(patients, views, -1)[:, :, : self._of_view]
        if not self.config.direct:
            return (embedded * share).sum(dim=1)
        mean, largest = embedded.unflatten(2, (len(VIEW_INPUTS), 2, -1)).unbind(dim=3)
        share = share[..., None]
        largest = largest.masked_fill(share == 0, float("-inf")).amax(dim=1)
        return torch.stack(((mean * share).sum(dim=1), largest), dim=2).flatten(1)

    def _findings(self, shown: torch.Tensor) -> torch.Tensor | None:
        """Logits of the findings; with a direct way, of what is shown on the scale of the patients trained on."""
        if self.finding_head is None:
            return None
        if self.standard is not None:
            # One patient alone teaches no scale.
            alone = self.training and len(shown) == 1
            shown = scaled(shown, self.standard) if alone else self.standard(shown)
        logits: torch.Tensor = self.finding_head(shown)
        return logits

    def _of_views(self, head: nn.Module, features: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """What `head` says of a patient: of the mean of the views' features, or the mean of what it says of each."""
        if self.config.two_views == "logit":
            return (head(features) * share).sum(dim=1)
        answer: torch.Tensor = head((features * share).sum(dim=1))
        return answer

    def _levels(self, features: torch.Tensor, share: torch.Tensor, direct: torch.Tensor | None) -> torch.Tensor | None:
        """Logits of the levels; what makes metastasis likelier makes more of it, too."""
        if self.level_head is None:
            return None
        if direct is not None:
            features = torch.cat((features, direct.detach()[:, None] * torch.ones_like(features[..., :1])), dim=2)
        return self._of_views(self.level_head, features, share)

    def _encode(self, image: Tokens, text: Tokens, attention: bool) -> tuple[Tokens, list[Weights]]:
        collected = []
        for fusion in self.fusion:
            image, text, weights = fusion(image, text, attention)
            collected.append(weights)
        tokens = image.joined(text)
        values, mask = tokens.values, tokens.key_mask
        for block in self.joint:
            values, weights = block(values, mask, attention)
            collected.append(weights)
        return tokens.with_values(self.norm(values)), collected if attention else []

    def _pool(self, tokens: Tokens, embedded: torch.Tensor | None) -> torch.Tensor:
        """One vector a view, (B, width): the class token, the mean of the tokens, or what is said of each input."""
        if self.join is not None and embedded is not None:
            return self.join(torch.cat((tokens.mean_and_largest_of_inputs(), embedded), dim=1))
        return tokens.values[:, 0] if self.config.pooling == "cls" else tokens.mean()


def _flatten_views(inputs: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], int, int]:
    """Views joined to the batch axis: the inputs of B * V single views, B and V."""
    images = inputs["location"]
    patients, views = (images.shape[0], images.shape[1]) if images.ndim == 5 else (images.shape[0], 1)
    if images.ndim != 5:
        return dict(inputs), patients, views
    flat = {}
    for name, value in inputs.items():
        of_view = name.removesuffix("_absent") in VIEW_INPUTS
        flat[name] = value.flatten(0, 1) if of_view else value.repeat_interleave(views, dim=0)
    return flat, patients, views
