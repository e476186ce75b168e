"""The main object of a cine loop as one stack of masks, as `llnm segment` writes it frame by frame.

Comes in: a loop. Goes out: (frame, row, column) bool, and the loop's tracks in numbers. The maps of track numbers lie
in a temporary file until the main track is known: a long loop does not fit into memory twice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from lib.images import SourceImage

from llnm.case import Mask, Structure
from llnm.segmentation.cine import segment_cine
from llnm.segmentation.tracks import Section, gather_tracks, propose_section


def segment_loop(source: SourceImage, structure: Structure, weights: Path) -> tuple[Mask, dict[str, Any]]:
    """Masks of the main track's object, and what was found. Raises InputError where no frame can be used."""
    cine = source.cine()
    sections: list[Section] = []
    problems: dict[str, str] = {}
    usable: list[int] = []
    warnings: dict[str, None] = {}
    with tempfile.TemporaryFile() as file:
        maps = np.memmap(file, dtype=np.uint16, mode="w+", shape=source.geometry.shape)
        for found in segment_cine(cine, structure, weights=weights):
            if found.tracks is None:
                problems[found.name] = found.problem or "the frame cannot be used"
                continue
            maps[found.index] = found.tracks
            usable.append(found.index)
            sections += found.sections
            warnings.update(dict.fromkeys(found.warnings))
        tracks = gather_tracks(sections, len(usable))
        main = next((track for track in tracks if not track.spurious), None)
        masks = np.zeros(source.geometry.shape, dtype=bool) if main is None else np.asarray(maps == main.number)
    proposed = None if main is None else propose_section(main, usable)
    return masks, {
        "found": main is not None,
        "frames": len(cine),
        "tracks": sum(not track.spurious for track in tracks),
        "proposed_frame": None if proposed is None else proposed.frame,
        "area_px": 0 if proposed is None else proposed.area_px,
        "problems": problems,
        "warnings": list(warnings),
    }
