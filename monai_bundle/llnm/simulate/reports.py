"""Radiology reports of simulated patients from one small grammar, in English and Chinese.

Comes in: `Findings` and a random generator. Goes out: the report as text. The lymph nodes and the family history, which
no image shows, stand near the beginning in most reports, so that they lie within the first 50 tokens. A brief report
says besides these only where the nodule is and how large; a detailed one describes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from llnm.simulate.findings import Findings, sample_findings
from llnm.simulate.phrases import NODE_SIDE, PHRASES, SENTENCES, Language

_NODES_FIRST = 0.93
_FAMILY_DENIED = 0.3
_SUSPICIOUS = {
    "composition": ("solid",),
    "echogenicity": ("hypoechoic", "markedly hypoechoic"),
    "margin": ("lobulated", "spiculated", "ill-defined"),
    "foci": ("microcalcification",),
}


def write_report(findings: Findings, rng: np.random.Generator, language: Language, detailed: bool = True) -> str:
    """One report that states the findings; wording and order vary with the generator."""
    words = {name: _pick(rng, wordings[str(_value(findings, name))]) for name, wordings in PHRASES[language].items()}
    words["nodes"] = words["nodes"].format(side=NODE_SIDE[language][findings.side])
    words["size"] = _size(findings.size_mm, rng)
    words["category"] = kwak_category(findings)
    frames = {name: _pick(rng, choices) for name, choices in SENTENCES[language].items()}
    if detailed:
        nodule = [_sentence(frames["nodule"], words), _sentence(frames["extra"], words)]
        ending = [words["diffuse"], _sentence(frames["category"], words)]
    else:
        nodule, ending = [_sentence(frames["brief"], words)], [words["diffuse"]]
    outside = [words["nodes"]]
    if findings.family_history or rng.random() < _FAMILY_DENIED:
        outside.insert(int(rng.random() < 0.7), words["family_history"])
    order = [*outside, *nodule] if rng.random() < _NODES_FIRST else [nodule[0], *outside, *nodule[1:]]
    order += ending
    return (" " if language == "en" else "").join(part[0].upper() + part[1:] for part in order)


def kwak_category(findings: Findings) -> str:
    """Kwak TI-RADS category from the number of suspicious features (Kwak et al., Radiology 260, 892, 2011)."""
    suspicious = sum(getattr(findings, name) in values for name, values in _SUSPICIOUS.items()) + findings.taller
    return ("3", "4A", "4B", "4C", "4C", "5")[suspicious]


def sentences(rng: np.random.Generator) -> Iterator[str]:
    """Reports without end, both languages in turn, of nodules of any kind; the text encoder learns from them."""
    while True:
        for language in ("en", "zh"):
            yield write_report(sample_findings(rng, any_nodule=bool(rng.random() < 0.3)), rng, language)


def _value(findings: Findings, name: str) -> object:
    return findings.taller if name == "shape" else getattr(findings, name)


def _size(size_mm: float, rng: np.random.Generator) -> str:
    return f"{size_mm / 10:.1f} cm" if rng.random() < 0.3 else f"{size_mm:.0f} mm"


def _sentence(frame: str, words: Mapping[str, str]) -> str:
    return frame.format(**words)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
