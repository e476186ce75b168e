"""One patient as one tensor, and TMDL on it: what tools that know networks of a single image can run and export.

Comes in: the mapping of `TMDL.forward` with a view axis of two. Goes out: a tensor (B, 7, 224, 224) and back.
Channels 0-2 are location, texture and margin of the transverse view, 3-5 those of the longitudinal one. Channel 6 holds
everything else, read row by row: the report's word vectors, which words count, values, and what is absent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llnm.errors import InputError
from llnm.tmdl.config import (
    IMAGE_INPUTS,
    IMAGE_SIDE,
    INPUTS,
    NOT_MEASURED,
    REPORT_TOKENS,
    VIEW_INPUTS,
    WORD_VECTOR_WIDTH,
    TMDLConfig,
)
from llnm.tmdl.network import TMDL

VIEWS = 2
CHANNELS = VIEWS * len(IMAGE_INPUTS) + 1
EXAMINATION_SHAPE = (CHANNELS, IMAGE_SIDE, IMAGE_SIDE)
# Flags are stored as 0 and 1.
TRUE = 0.5

_SHAPES: dict[str, tuple[int, ...]] = {
    "report": (REPORT_TOKENS, WORD_VECTOR_WIDTH),
    "report_mask": (REPORT_TOKENS,),
    "age": (),
    "sex": (),
    "echogenicity": (VIEWS,),
    "shape": (VIEWS,),
    "view_mask": (VIEWS,),
    **{f"{name}_absent": (VIEWS,) if name in VIEW_INPUTS else () for name in INPUTS},
    "capsule_distance": (VIEWS,),
}
# What stands for something that is not given; elsewhere 0.
_NOT_GIVEN = {"view_mask": 1.0, "capsule_distance": NOT_MEASURED}


def pack(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The examination tensor (B, 7, 224, 224) of the inputs of B patients with two views; absent masks may be missing.

    Raises InputError for inputs without a view axis of two.
    """
    images = [inputs[name] for name in IMAGE_INPUTS]
    if images[0].ndim != 5 or images[0].shape[1] != VIEWS:
        raise InputError(f"{IMAGE_INPUTS[0]}: (B, 2, 1, 224, 224) is expected, not {tuple(images[0].shape)}")
    patients = len(images[0])
    record = torch.zeros(patients, IMAGE_SIDE * IMAGE_SIDE)
    for name, shape, place in _places():
        value = inputs.get(name)
        if value is None:
            record[:, place] = _NOT_GIVEN.get(name, 0.0)
            continue
        value = value.float()
        if name.startswith("report") and value.ndim > 1:
            missing = REPORT_TOKENS - value.shape[1]
            value = nn.functional.pad(value, (0, 0, 0, missing) if value.ndim == 3 else (0, missing))
        record[:, place] = value.reshape(patients, math.prod(shape))
    planes = torch.stack(images, dim=2).flatten(1, 3)
    return torch.cat([planes, record.view(patients, 1, IMAGE_SIDE, IMAGE_SIDE)], dim=1)


def unpack(examination: torch.Tensor) -> dict[str, torch.Tensor]:
    """The inputs of `TMDL.forward` from examination tensors (B, 7, 224, 224)."""
    planes = examination[:, :-1].unflatten(1, (VIEWS, len(IMAGE_INPUTS), 1))
    record = examination[:, -1].flatten(1)
    inputs: dict[str, torch.Tensor] = {name: planes[:, :, index] for index, name in enumerate(IMAGE_INPUTS)}
    for name, shape, place in _places():
        value = record[:, place].unflatten(1, shape) if shape else record[:, place][:, 0]
        inputs[name] = value > TRUE if name.endswith(("_mask", "_absent")) else value
    return inputs


def _places() -> Iterator[tuple[str, tuple[int, ...], slice]]:
    """Name, shape and place in the record of everything in it."""
    start = 0
    for name, shape in _SHAPES.items():
        stop = start + math.prod(shape)
        yield name, shape, slice(start, stop)
        start = stop


class ExaminationTMDL(TMDL):
    """TMDL of one tensor a patient, with the weights and the names of `TMDL`; TorchScript and ONNX can hold it."""

    @classmethod
    def from_metadata(cls, path: str | Path) -> ExaminationTMDL:
        """Fresh network for the weights that a bundle's `metadata.json` describes; raises InputError if it does not."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))["weights"]["tmdl"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: describes no TMDL weights ({error!r}); restore the bundle") from error
        return cls(TMDLConfig.from_dict(values))

    def forward(self, image: torch.Tensor, *_: Any) -> torch.Tensor:  # type: ignore[override]
        """Logits (B, 1 + levels - 1) of `image` (B, 7, 224, 224): metastasis, and each level above the first."""
        answer = super().forward(unpack(image))
        found = answer.logits[:, -1:]
        return found if answer.level_logits is None else torch.cat([found, answer.level_logits], dim=1)

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` compiles in place of this: a trace, since the parts speak in dataclasses."""
        training = self.training
        trace = torch.jit.trace(self.eval(), torch.rand(1, *EXAMINATION_SHAPE), check_trace=False)
        self.train(training)
        return _Scriptable(trace)


class _Scriptable(nn.Module):
    """A traced network under a module that can be scripted."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(image)
        return found
