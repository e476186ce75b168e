"""Segments a cine loop frame by frame and ties what it finds into tracks.

Comes in: the frames of a `llnm.imaging.cine.Cine`, one at a time. Goes out: for each frame a map of track numbers, to
be written or shown at once, and the numbers measured on it. The maps and the probabilities of a frame are let go
before the next one is read; whoever iterates keeps the sections (a few numbers each), from which `gather_tracks` and
`propose_section` of `llnm.segmentation.tracks` find the main object and the frame to use as the view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llnm.case import Mask, Spacing, Structure
from llnm.errors import InputError
from llnm.imaging import prepare
from llnm.imaging.cine import CineFrame
from llnm.segmentation.inference import Segmentation, segment
from llnm.segmentation.tracks import Linker, Section

TrackMap = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class SegmentedFrame:
    """What was found in one frame.

    `tracks`: (row, column) uint16, the track number of each pixel, 0 where there is nothing; None where the frame
    could not be used, which `problem` then explains. `sections`: one for each object, largest first. `warnings`:
    those of the frame.
    """

    index: int
    name: str
    tracks: TrackMap | None
    sections: tuple[Section, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str | None = None


def segment_cine(
    frames: Iterable[CineFrame],
    structure: Structure = "nodule",
    *,
    network: str = "default",
    weights: Path | None = None,
) -> Iterator[SegmentedFrame]:
    """Masks and track numbers of every frame of a loop, in order, as they are found.

    Each frame is segmented by itself (`llnm.segmentation.segment`, same `network` and `weights`), without smoothing in
    time; nodules are linked each for itself, the parts of a gland as one object (`llnm.segmentation.tracks.Linker`).
    A frame that cannot be read, or has no contrast, is passed on with its `problem`.

    Raises InputError where not one frame could be used.
    """
    linker = Linker()
    used, problem = 0, "it holds none"
    for frame in frames:
        try:
            if frame.image is None:
                raise InputError(frame.problem or "the frame cannot be read")
            prepared = prepare(frame.image)
        except InputError as error:
            problem = str(error)
            yield SegmentedFrame(frame.index, frame.name, None, problem=problem)
            continue
        used += 1
        found = segment(prepared, structure, network=network, weights=weights)
        masks = _objects(found)
        numbers = linker.link(frame.index, masks)
        tracks = np.zeros(found.mask.shape, dtype=np.uint16)
        for number, mask in zip(numbers, masks, strict=True):
            tracks[mask] = number
        sections = tuple(
            _measure(frame.index, number, mask, found, prepared.spacing_mm)
            for number, mask in zip(numbers, masks, strict=True)
        )
        doubts = found.distribution.warnings if found.distribution else ()
        yield SegmentedFrame(frame.index, frame.name, tracks, sections, (*prepared.warnings, *doubts))
    if not used:
        raise InputError(f"cine: not one frame could be used ({problem}); give another loop")


def _objects(found: Segmentation) -> tuple[Mask, ...]:
    """The masks that are linked: every nodule for itself, the parts of a gland together."""
    if found.structure == "gland":
        return (found.mask,) if found.found else ()
    return found.candidates


def _measure(frame: int, number: int, mask: Mask, found: Segmentation, spacing: Spacing | None) -> Section:
    rows, columns = np.nonzero(mask)
    return Section(
        frame=frame,
        track=number,
        area_px=len(rows),
        area_mm2=None if spacing is None else len(rows) * spacing[0] * spacing[1],
        mean_probability=float(found.probability[mask].mean()),
        mean_uncertainty=float(found.uncertainty[mask].mean()),
        x=float(columns.mean()),
        y=float(rows.mean()),
    )
