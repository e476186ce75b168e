"""Fits the out-of-distribution detector of a nodule network and measures what it tells apart.

Comes in: annotated folders, the network's weights, and folders that are only measured on. Goes out, in one folder:
`out_of_distribution.safetensors`, which belongs beside the weights, `out_of_distribution.json` (AUROC by source of
thyroid images and kind of other frames, false alarms) and `out_of_distribution.csv` (one row a frame).

Thyroid in the fit: the folders' images, the same as other scanners would show them (`training.augmentation`), and
simulated views, without which "simulated" would mean "no thyroid". Against it: simulated organs, and phantoms that are
no organ. Photographs, blank frames and colour Doppler are never in the fit, and each organ is judged by a detector
that was fitted without that organ.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from llnm.segmentation.out_of_distribution import DETECTOR_FILE, THRESHOLD, OutOfDistributionDetector, judge
from llnm.simulate.other_organs import ORGANS, PHANTOM
from llnm.training.data import HeldBack, Item, find_items, thin_out
from llnm.training.out_of_distribution.detector import fit_detectors
from llnm.training.out_of_distribution.features import (
    FeatureReader,
    Sample,
    annotated,
    dual_views,
    simulated_views,
)
from llnm.training.out_of_distribution.frames import blanks, colour_doppler, other_organs, photographs
from llnm.training.out_of_distribution.separation import auroc, comparisons, share
from llnm.training.workflow import write_json, write_table

RECORD_FILE = "out_of_distribution.json"
TABLE_FILE = "out_of_distribution.csv"
# Frames of one sweep are much alike; so many of each, evenly spread, tell as much as all.
FRAMES_OF_A_GROUP = 5


@dataclass(frozen=True)
class Amounts:
    """Frames made for the fit: `augmented` an image, `simulated` thyroid views, `organs` a kind; `measured` a kind."""

    augmented: int = 4
    simulated: int = 150
    organs: int = 40
    phantoms: int = 150
    measured: int = 40


def fit_out_of_distribution(
    folders: Sequence[Path],
    weights: Path,
    out: Path,
    *,
    measured: Sequence[Path] = (),
    fold: int = 0,
    folds: int = 5,
    seed: int = 0,
    amounts: Amounts | None = None,
) -> dict[str, Any]:
    """Fit on `folders` without fold `fold` of their patients, measure on that fold and on `measured`, write all files.

    `folds` of 1 holds nothing back: for weights that ship, which were trained on all patients. Gives the record that
    the JSON file holds. Raises InputError for folders or weights that cannot be used.
    """
    started = time.monotonic()
    amounts = amounts or Amounts()
    out.mkdir(parents=True, exist_ok=True)
    items = [item for folder in folders for item in find_items(folder, "nodule")]
    training, held_back = HeldBack(fold, folds).split(items)
    held_back += [item for folder in measured for item in thin_out(find_items(folder, "nodule"), FRAMES_OF_A_GROUP)]
    reader = FeatureReader(weights)
    thyroid, organs = _samples_to_fit(reader, training, amounts, seed)
    detector, *others = fit_detectors(thyroid, organs, [(), *((name,) for name in ORGANS)])
    detector.save(out / DETECTOR_FILE, weights)
    without = dict(zip(ORGANS, others, strict=True))
    sources, kinds = _samples_to_measure(reader, held_back, amounts, seed + 1)
    _write_table(detector, without, {**sources, **kinds}, out / TABLE_FILE)
    record = {
        "plan": {
            "folders": [folder.name for folder in folders],
            "measured": [folder.name for folder in measured],
            "fold": fold,
            "folds": folds,
            "seed": seed,
            "amounts": asdict(amounts),
        },
        "frames_in_fit": {name: len(sample.groups) for name, sample in {**thyroid, **organs}.items()},
        "false_alarms": {
            name: {"frames": len(sample.groups), **share(_scores(detector, sample) >= THRESHOLD, sample.groups)}
            for name, sample in sources.items()
        },
        "auroc": {name: _auroc_by_kind(detector, without, sample, kinds) for name, sample in sources.items()},
        "flagged": {
            name: {
                "frames": len(sample.groups),
                **share(_scores(without.get(name, detector), sample) >= THRESHOLD, sample.groups),
            }
            for name, sample in kinds.items()
        },
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    write_json(record, out / RECORD_FILE)
    return record


def _samples_to_fit(
    reader: FeatureReader, training: Sequence[Item], amounts: Amounts, seed: int
) -> tuple[dict[str, Sample], dict[str, Sample]]:
    """Thyroid by source, and organs (and phantoms) by name, each plain and randomised."""
    thyroid = {
        "images": reader.read(annotated(training)),
        "augmented": reader.augmented(training, amounts.augmented, seed),
        "simulated": reader.read(simulated_views(amounts.simulated, seed, randomise=False)),
        "randomised": reader.read(simulated_views(amounts.simulated, seed + 1, randomise=True)),
    }
    organs = {}
    for name in (*ORGANS, PHANTOM):
        number = amounts.phantoms if name == PHANTOM else amounts.organs
        plain = reader.read(other_organs(number, seed, (name,)))
        randomised = reader.read(other_organs(number, seed + 1, (name,), randomise=True))
        features = np.concatenate([plain.features, randomised.features])
        organs[name] = _usable(Sample(features, plain.groups + randomised.groups))
    return {name: _usable(sample) for name, sample in thyroid.items()}, organs


def _usable(sample: Sample) -> Sample:
    """Without frames that are refused before the network sees them."""
    return sample.part(np.isfinite(sample.features).all(axis=1))


def _samples_to_measure(
    reader: FeatureReader, held_back: Sequence[Item], amounts: Amounts, seed: int
) -> tuple[dict[str, Sample], dict[str, Sample]]:
    """Frames of the thyroid by source, and others by kind, none of them in the fit."""
    number = amounts.measured
    frames = list(annotated(held_back))
    names = dict.fromkeys(frame.kind for frame in frames)
    sources = {name: reader.read(frame for frame in frames if frame.kind == name) for name in names}
    for name in names:
        pairs = [frame for frame in frames if frame.kind == name][: 2 * number]
        sources[f"{name}, dual views"] = reader.read(dual_views(pairs))
    sources["simulated"] = reader.read(simulated_views(number, seed + 1, randomise=False))
    real = [(frame.group, frame.image) for frame in frames[:: max(1, len(frames) // (3 * number))]]
    kinds = {
        "colour Doppler": reader.read(colour_doppler([(g, image) for g, image in real if image is not None], seed)),
        "blank": reader.read(blanks(max(1, number // 8), seed)),
        "photograph": reader.read(photographs(max(1, number // 8), seed)),
        **{name: reader.read(other_organs(number, seed + 2, (name,))) for name in ORGANS},
    }
    return sources, {name: sample for name, sample in kinds.items() if sample.groups}


def _scores(detector: OutOfDistributionDetector, sample: Sample) -> np.ndarray:
    """Scores as `check_distribution` gives them: 1 where the network never saw the frame."""
    margins = detector.margins(sample.features)
    return np.array([judge(row).score if np.isfinite(row).all() else 1.0 for row in margins])


def _auroc_by_kind(
    detector: OutOfDistributionDetector,
    without: Mapping[str, OutOfDistributionDetector],
    source: Sample,
    kinds: Mapping[str, Sample],
) -> dict[str, Any]:
    """AUROC of `source` against every kind, and against all organs together (each judged without itself in the fit)."""
    compared = {}
    for name, sample in kinds.items():
        judging = without.get(name, detector)
        compared[name] = comparisons(_scores(judging, source), _scores(judging, sample))
    figures = {name: auroc(matrix, source.groups, kinds[name].groups) for name, matrix in compared.items()}
    together = np.concatenate([compared[name] for name in ORGANS], axis=1)
    groups = [group for name in ORGANS for group in kinds[name].groups]
    return {"other organs": auroc(together, source.groups, groups), **figures}


def _write_table(
    detector: OutOfDistributionDetector,
    without: Mapping[str, OutOfDistributionDetector],
    samples: Mapping[str, Sample],
    path: Path,
) -> None:
    parts = []
    for name, sample in samples.items():
        judging = without.get(name, detector)
        distance, discriminant = judging.margins(sample.features).T
        rows = {"kind": name, "group": sample.groups, "score": _scores(judging, sample)}
        parts.append(pd.DataFrame({**rows, "distance_margin": distance, "discriminant_margin": discriminant}))
    write_table(pd.concat(parts).round(5), path)
