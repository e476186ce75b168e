"""The stated risk model of simulated patients: which finding moves the risk by how much, and which input shows it.

Comes in: a patient's `Findings` and the `Measurements` of the two planes. Goes out: the terms of the logit and the
probability. This is a synthetic model whose signs follow the literature (closeness to the capsule and the upper third:
Shen et al. 2025, Fig. 4; Back et al. 2019; youth, male sex, calcification: Ito et al. 2004; Ruan et al. 2024). The
sizes are set so that the prevalence is 52 % and the best possible AUC about 0.95. It says nothing about real patients.

    logit = INTERCEPT + sum over effects of size * (value - mean)

The effects of a cause that is switched off contribute nothing, that is their mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from llnm.errors import InputError
from llnm.simulate.anatomy import Measurements
from llnm.simulate.findings import INFILTRATIVE_MARGINS, SUSPICIOUS_NODES, Findings

CAUSES = ("location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex")
ALL_CAUSES = frozenset(CAUSES)

INTERCEPT = 0.12
CAPSULE_CENTRE_MM, CAPSULE_WIDTH_MM = 2.5, 0.5
THIRD = {"upper": 1.0, "middle": 0.25, "lower": -1.0}
SIZE_CENTRE_MM = 8.0
AGE_CENTRE = 43.0


@dataclass(frozen=True)
class Effect:
    """What one finding does to the logit.

    `cause`: the name under which it is switched off. `size`: change of the logit a unit of the finding. `mean`: mean of
    the finding over 20,000 patients (seeds 0-19,999), so that switching it off keeps the prevalence. `shown_by`: the
    inputs of the network from which it can be told. `described`: a detailed report says it too.
    """

    cause: str
    size: float
    mean: float
    shown_by: tuple[str, ...]
    described: bool = False


EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        # tanh((2.5 mm - distance) / 0.5 mm): the risk falls steeply where the published curve passes 72 %.
        "capsule_distance": Effect("location", 2.9, 0.261, ("location",)),
        "third": Effect("location", 1.2, 0.096, ("report",)),
        "microcalcification": Effect("texture", 2.6, 0.43, ("texture",), described=True),
        "infiltrative_margin": Effect("margin", 1.8, 0.45, ("margin",), described=True),
        "markedly_hypoechoic": Effect("echogenicity", 1.8, 0.356, ("echogenicity",), described=True),
        "taller_than_wide": Effect("shape", 1.4, 0.431, ("shape",), described=True),
        # Natural logarithm of the largest dimension over 8 mm; every report gives the size.
        "size": Effect("shape", 0.4, -0.071, ("location", "texture", "report")),
        "suspicious_nodes": Effect("report", 4.0, 0.295, ("report",)),
        "family_history": Effect("report", 1.8, 0.102, ("report",)),
        "age": Effect("age", -0.06, 0.168, ("age",)),
        "male": Effect("sex", 1.0, 0.275, ("sex",)),
    }
)


@dataclass(frozen=True)
class RiskModel:
    """The effects and the causes that act; `RiskModel()` is the model of the documentation."""

    effects: Mapping[str, Effect] = field(default_factory=lambda: EFFECTS)
    causes: frozenset[str] = ALL_CAUSES

    def __post_init__(self) -> None:
        check_causes(self.causes)

    def without(self, causes: Iterable[str]) -> RiskModel:
        """The same model with these causes switched off; raises InputError for one that it does not know."""
        return replace(self, causes=self.causes - check_causes(causes))

    def with_sizes(self, sizes: Mapping[str, float]) -> RiskModel:
        """The same model with other sizes of effects; raises InputError for an unknown name or a size that is none."""
        unknown = sorted(set(sizes) - set(self.effects))
        if unknown:
            raise InputError(f"effects: {', '.join(unknown)} not known; choose from {', '.join(self.effects)}")
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int | float) or not math.isfinite(size):
                raise InputError(f"effects: {name}: {size!r} is no number; give the change of the logit a unit")
        changed = {name: replace(effect, size=sizes.get(name, effect.size)) for name, effect in self.effects.items()}
        return replace(self, effects=changed)

    @classmethod
    def from_file(cls, path: Path) -> RiskModel:
        """The model with the sizes of a JSON file {effect: size}; raises InputError if it cannot be used."""
        try:
            sizes = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as JSON ({error}); write {{effect: size}}") from error
        if not isinstance(sizes, dict):
            raise InputError(f"{path}: it holds no effects; write {{effect: size}}")
        return cls().with_sizes(sizes)

    def terms(self, findings: Findings, measured: Measurements) -> dict[str, float]:
        """Logit of every effect that acts, its mean taken off; 0 for one that does not."""
        return {
            name: effect.size * (value - effect.mean) if effect.cause in self.causes else 0.0
            for (name, effect), value in zip(self.effects.items(), values(findings, measured).values(), strict=True)
        }


def values(findings: Findings, measured: Measurements) -> dict[str, float]:
    """The findings as numbers, in the order of `EFFECTS`. The distance is the smaller of the two planes', in mm."""
    return {
        "capsule_distance": math.tanh((CAPSULE_CENTRE_MM - measured.capsule_distance_mm) / CAPSULE_WIDTH_MM),
        "third": THIRD[findings.third],
        "microcalcification": float(findings.foci == "microcalcification"),
        "infiltrative_margin": float(findings.margin in INFILTRATIVE_MARGINS),
        "markedly_hypoechoic": float(findings.echogenicity == "markedly hypoechoic"),
        "taller_than_wide": float(measured.taller),
        "size": math.log(measured.size_mm / SIZE_CENTRE_MM),
        "suspicious_nodes": float(findings.nodes in SUSPICIOUS_NODES),
        "family_history": float(findings.family_history),
        "age": findings.age - AGE_CENTRE,
        "male": float(findings.sex == "M"),
    }


def probability(terms: Mapping[str, float]) -> float:
    """True probability of LLNM from the terms of the logit."""
    return 1.0 / (1.0 + math.exp(-INTERCEPT - sum(terms.values())))


def check_causes(names: Iterable[str]) -> frozenset[str]:
    """The names as a set; raises InputError for one that is no cause of this model."""
    chosen = frozenset(names)
    unknown = sorted(chosen - ALL_CAUSES)
    if unknown:
        raise InputError(f"causes: {', '.join(unknown)} not known; choose from {', '.join(CAUSES)}")
    return chosen
