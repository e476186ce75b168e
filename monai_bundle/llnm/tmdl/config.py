"""Every choice of the TMDL network, with its default, and the presets `paper` and `released`.

Comes in: a preset's name and a size. Goes out: a frozen `TMDLConfig`. The source is Shen et al., Nat Commun 16, 7052
(2025); where the paper and its released code disagree the default is ours and both of theirs can be chosen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from llnm.case import FINDINGS, SEEN
from llnm.errors import InputError

# The eight inputs, in the order in which contributions are reported.
InputName = Literal["location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex"]
INPUTS: tuple[InputName, ...] = ("location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex")
IMAGE_INPUTS: tuple[InputName, ...] = ("location", "texture", "margin")
# The order of the single tokens that follow the report's, as in the released code.
SCALAR_INPUTS: tuple[InputName, ...] = ("echogenicity", "shape", "sex", "age")
VIEW_INPUTS: tuple[InputName, ...] = ("location", "texture", "margin", "echogenicity", "shape")

IMAGE_SIDE = 224
PATCH_SIDE = 16
PATCHES = (IMAGE_SIDE // PATCH_SIDE) ** 2
WORD_VECTOR_WIDTH = 768
REPORT_TOKENS = 50
# A distance to the capsule that is not known; no distance is below 0.
NOT_MEASURED = -1.0
# Centre and scale by which values are standardised: age by the median and interquartile range of the paper's Table 1
# (43, 34-52 years), echogenicity difference (grey, 0-1) and aspect ratio by those of 1,000 simulated patients.
GREY_CENTRE, GREY_SCALE = 0.5, 0.25
STANDARD: dict[InputName, tuple[float, float]] = {
    "age": (43.0, 13.3),
    "echogenicity": (0.14, 0.12),
    "shape": (0.99, 0.23),
}


@dataclass(frozen=True)
class TMDLConfig:
    """One value a row of the method's table; see `CONTRIBUTING.md` for the reasons."""

    preset: str = "default"
    width: int = 768
    heads: int = 12
    mlp_width: int = 3072
    depth: int = 16
    fusion_depth: int = 4
    image_tokens: Literal["separate", "stacked"] = "separate"
    # How a patch becomes a token: two convolutions with a GELU between them (as the paper's text has it), the same with
    # windows that overlap and a layer of the token, or one layer.
    patch_embedding: Literal["windows", "convolutional", "linear"] = "convolutional"
    # Patches of location and texture on which there is no nodule: left out of attention and pooling, or kept.
    blank_patches: Literal["masked", "kept"] = "masked"
    # Share of the mosaic left out in training: its patches are random places of one margin, fewer say the same.
    margin_dropout: float = 0.75
    # So many image tokens of a view are seen in training, of larger nodules some by lot, since the longest row counts.
    most_patches: int = 160
    report_length: Literal["tokens", "characters"] = "tokens"
    report_padding: Literal["masked", "unmasked"] = "masked"
    alpha: float = 1.0
    mixing: Literal["sum", "mean"] = "sum"
    residual: Literal["pre-norm", "paper"] = "pre-norm"
    output_projection: Literal["separate", "shared"] = "separate"
    # The mean of the tokens; mean and largest of each input's tokens, before and after the blocks, joined by one layer,
    # so that what shows plainly needs no way through the blocks; or the class token alone.
    pooling: Literal["mean", "inputs", "cls"] = "inputs"
    class_token: bool = False
    head: Literal["mlp", "linear"] = "mlp"
    logits: Literal[1, 2] = 1
    two_views: Literal["feature", "logit"] = "feature"
    # Ordered levels of metastasis (`llnm.staging`) that a second head tells apart; 0 has no such head.
    levels: int = 3
    # Whether a third head says what the views show by themselves (`llnm.case.FINDINGS`), which teaches the embedding.
    finding_head: bool = False
    size: Literal["padded", "resize-crop"] = "padded"
    # Whether what findings, distance to the capsule, report, age and sex say by themselves is added to what the head
    # says (`direct.DirectWay`); the head of findings then also tells if the capsule is nearer than 2.5 mm.
    direct: bool = False
    # Age, echogenicity and shape, and the grey levels of the images.
    values: Literal["standardised", "raw"] = "standardised"
    absent_tokens: bool = True
    dropout: float = 0.15
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise InputError(f"TMDL: width {self.width} is not a multiple of heads {self.heads}; change one of them")
        if not 0 <= self.fusion_depth <= self.depth:
            raise InputError(
                f"TMDL: fusion_depth {self.fusion_depth} is outside 0-{self.depth} (depth); change one of them"
            )
        if self.levels == 1 or self.levels < 0:
            raise InputError(f"TMDL: levels {self.levels} is not possible; give 2 or more, or 0 for no such head")
        if self.finding_head and self.pooling != "inputs":
            raise InputError("TMDL: finding_head needs what each input shows by itself; set pooling='inputs'")
        if self.direct and not self.finding_head:
            raise InputError("TMDL: direct needs the findings of the views; set finding_head=True")
        if self.pooling == "cls" and not self.class_token:
            raise InputError("TMDL: pooling 'cls' needs class_token=True; set it or pool by 'mean'")
        if self.image_tokens == "stacked" and self.patch_embedding != "linear":
            raise InputError("TMDL: stacked image tokens need patch_embedding='linear'; set it")
        if self.image_tokens == "stacked" and (self.blank_patches == "masked" or self.margin_dropout > 0):
            raise InputError(
                "TMDL: stacked image tokens have no blank patches; set blank_patches='kept', margin_dropout=0"
            )

    @property
    def seen(self) -> tuple[str, ...]:
        """What the head of findings tells, in its order; empty without one."""
        return () if not self.finding_head else SEEN if self.direct else FINDINGS

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TMDLConfig:
        """Config from `as_dict`'s values; raises InputError on a name that is not known."""
        unknown = set(values) - {item.name for item in fields(cls)}
        if unknown:
            raise InputError(f"TMDL config: {', '.join(sorted(unknown))} is not known; remove it or update llnm")
        return cls(**values)


_PRESETS: dict[str, dict[str, Any]] = {
    "default": {"finding_head": True, "direct": True, "patch_embedding": "windows"},
    # The text: 50 characters zero-padded, one skip from the block's input (equations 9-10).
    "paper": {
        "patch_embedding": "linear",
        "blank_patches": "kept",
        "margin_dropout": 0.0,
        "pooling": "mean",
        "report_length": "characters",
        "report_padding": "unmasked",
        "residual": "paper",
        "absent_tokens": False,
        "levels": 0,
    },
    # The released code, with its faults repaired as far as needed to run (text layers in all four fusion blocks, 50
    # tokens).
    "released": {
        "image_tokens": "stacked",
        "patch_embedding": "linear",
        "values": "raw",
        "blank_patches": "kept",
        "margin_dropout": 0.0,
        "report_padding": "unmasked",
        "mixing": "mean",
        "pooling": "mean",
        "output_projection": "shared",
        "class_token": True,
        "head": "linear",
        "logits": 2,
        "two_views": "logit",
        "size": "resize-crop",
        "absent_tokens": False,
        "levels": 0,
        "dropout": 0.3,
        "attention_dropout": 0.2,
    },
}
_SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "small": {"width": 64, "heads": 4, "mlp_width": 128, "depth": 3, "fusion_depth": 1},
}


def preset_config(preset: str = "default", size: str = "base", **changes: Any) -> TMDLConfig:
    """Config of a preset and size, with single choices changed by name; raises InputError on an unknown name."""
    for value, known, what in ((preset, _PRESETS, "preset"), (size, _SIZES, "size")):
        if value not in known:
            raise InputError(f"{what}: {value!r} is not known; choose one of {', '.join(known)}")
    return replace(TMDLConfig(preset=preset), **{**_SIZES[size], **_PRESETS[preset], **changes})
