"""Radiology reports of simulated patients from one small grammar, in English and Chinese.

Comes in: `Findings` and a random generator. Goes out: the report as text, and which findings it states. The lymph nodes
and the family history, which no image shows, stand near the beginning in most reports, so that they lie within the
first 50 tokens. A brief report says besides these only where the nodule is and how large; a detailed one describes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter

import numpy as np

from llnm.simulate.findings import Findings, sample_findings
from llnm.simulate.phrases import LANGUAGES, NODE_SIDE, PHRASES, SENTENCES, Language

_NODES_FIRST = 0.93
_FAMILY_DENIED = 0.3
_SUSPICIOUS = {
    "composition": ("solid",),
    "echogenicity": ("hypoechoic", "markedly hypoechoic"),
    "margin": ("lobulated", "spiculated", "ill-defined"),
    "foci": ("microcalcification",),
}


@dataclass(frozen=True)
class Report:
    """A report, and what it states: the value (a key of `PHRASES`) of each finding that it mentions."""

    text: str
    stated: Mapping[str, str]


def write_report(findings: Findings, rng: np.random.Generator, language: Language, detailed: bool = True) -> str:
    """One report that states the findings; wording and order vary with the generator."""
    return compose_report(findings, rng, language, detailed).text


def compose_report(findings: Findings, rng: np.random.Generator, language: Language, detailed: bool = True) -> Report:
    """The report of `write_report` with what it states."""
    words = {name: _pick(rng, wordings[str(_value(findings, name))]) for name, wordings in PHRASES[language].items()}
    words["nodes"] = words["nodes"].format(side=NODE_SIDE[language][findings.side])
    words["size"] = _size(findings.size_mm, rng)
    words["category"] = kwak_category(findings)
    frames = {name: _pick(rng, choices) for name, choices in SENTENCES[language].items()}
    nodule = [frames["nodule"], frames["extra"]] if detailed else [frames["brief"]]
    ending = ["{diffuse}", frames["category"]] if detailed else ["{diffuse}"]
    outside = ["{nodes}"]
    if findings.family_history or rng.random() < _FAMILY_DENIED:
        outside.insert(int(rng.random() < 0.7), "{family_history}")
    order = [*outside, *nodule] if rng.random() < _NODES_FIRST else [nodule[0], *outside, *nodule[1:]]
    order += ending
    parts = [frame.format(**words) for frame in order]
    said = {name for frame in order for _, name, _, _ in Formatter().parse(frame)}
    return Report(
        (" " if language == "en" else "").join(part[0].upper() + part[1:] for part in parts),
        {name: str(_value(findings, name)) for name in PHRASES[language] if name in said},
    )


def kwak_category(findings: Findings) -> str:
    """Kwak TI-RADS category from the number of suspicious features (Kwak et al., Radiology 260, 892, 2011)."""
    suspicious = sum(getattr(findings, name) in values for name, values in _SUSPICIOUS.items()) + findings.taller
    return ("3", "4A", "4B", "4C", "4C", "5")[suspicious]


def reports(rng: np.random.Generator) -> Iterator[Report]:
    """Reports without end, both languages in turn, half of them brief, of nodules of any kind.

    The text encoder learns from them.
    """
    while True:
        for language in LANGUAGES:
            findings = sample_findings(rng, any_nodule=bool(rng.random() < 0.3))
            yield compose_report(findings, rng, language, detailed=bool(rng.random() < 0.5))


def _value(findings: Findings, name: str) -> object:
    return findings.taller if name == "shape" else getattr(findings, name)


def _size(size_mm: float, rng: np.random.Generator) -> str:
    return f"{size_mm / 10:.1f} cm" if rng.random() < 0.3 else f"{size_mm:.0f} mm"


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
