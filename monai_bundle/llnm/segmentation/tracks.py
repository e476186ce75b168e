"""Ties the masks of successive frames into tracks and proposes the frame to use as the view.

Comes in: the masks of each frame of a cine loop, one frame at a time. Goes out: a track number for each mask, and from
the numbers measured on the masks the tracks and the proposed frame. Of the images only the last mask of each living
track is kept, cropped to its own rectangle, so that memory does not grow with the length of the loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from llnm.case import Mask

LEAST_OVERLAP = 0.1
"""Intersection over union below which two masks are not the same object."""
LONGEST_GAP = 3
"""Number of successive frames in which an object may be missed without its track ending."""
LEAST_SECTIONS = 3
"""A track seen in fewer frames is spurious, unless the loop itself has fewer usable ones."""
NEIGHBOURS = 2
"""Frames on each side that a section must agree with to be proposed."""
AGREEMENT = 0.25
"""Largest difference from the median area of the neighbourhood, as a share of it."""


@dataclass(frozen=True)
class Section:
    """One object in one frame: numbers alone, no pixels.

    `frame` counts from 0, `track` from 1. `x`, `y`: centre in pixels. `area_mm2`: None where the spacing is unknown.
    `mean_probability`, `mean_uncertainty`: over the mask, 0-1; see `llnm.segmentation.Segmentation`.
    """

    frame: int
    track: int
    area_px: int
    area_mm2: float | None
    mean_probability: float
    mean_uncertainty: float
    x: float
    y: float

    @property
    def confident_area(self) -> float:
        """Area in pixels, each weighted by its probability less one standard deviation (uncertainty)."""
        return self.area_px * max(0.0, self.mean_probability - self.mean_uncertainty)


@dataclass(frozen=True)
class Track:
    """One object through the loop, its sections in the order of the frames.

    `spurious`: seen in too few frames (LEAST_SECTIONS) to be taken for an object.
    """

    number: int
    sections: tuple[Section, ...]
    spurious: bool

    @property
    def confident_volume(self) -> float:
        """Sum of the confident areas over the frames, in pixels: what tells the main track from the others."""
        return sum(section.confident_area for section in self.sections)


class Linker:
    """Gives each mask the number of the track that it continues, frame by frame.

    A mask continues the track whose last mask it overlaps most (intersection over union, at least LEAST_OVERLAP), the
    last mask being taken both where it was and where it would be had it moved on as before, so that objects may cross.
    Each frame is solved as an assignment of largest total overlap (scipy.optimize.linear_sum_assignment). A track not
    seen for more than LONGEST_GAP frames ends; what appears later is a new one. A frame that could not be read
    counts as a frame not seen: just leave it out.
    """

    def __init__(self) -> None:
        self._alive: list[_Last] = []
        self._count = 0

    def link(self, frame: int, masks: Sequence[Mask]) -> tuple[int, ...]:
        """Track numbers, from 1, of the masks of `frame`; frames come in rising order, masks are not empty."""
        patches = [_Patch.of(mask) for mask in masks]
        self._alive = [last for last in self._alive if frame - last.frame <= LONGEST_GAP + 1]
        overlaps = np.array([[last.overlap(frame, patch) for last in self._alive] for patch in patches])
        overlaps = np.where(overlaps >= LEAST_OVERLAP, overlaps, 0).reshape(len(patches), len(self._alive))
        continued = {
            int(row): self._alive[column]
            for row, column in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True)
            if overlaps[row, column] > 0
        }
        numbers = []
        for row, patch in enumerate(patches):
            last = continued.get(row)
            if last is None:
                self._count += 1
                self._alive.append(_Last(self._count, frame, patch))
                numbers.append(self._count)
            else:
                last.move_on(frame, patch)
                numbers.append(last.track)
        return tuple(numbers)


def gather_tracks(sections: Iterable[Section], usable_count: int) -> tuple[Track, ...]:
    """The tracks of a loop of `usable_count` usable frames: real ones first, each kind by falling confident volume.

    The first one, if it is not spurious, is the main track: the object of which most is seen, with most confidence.
    """
    members: dict[int, list[Section]] = {}
    for section in sections:
        members.setdefault(section.track, []).append(section)
    least = min(LEAST_SECTIONS, usable_count)
    tracks = [
        Track(number, tuple(sorted(found, key=lambda section: section.frame)), len(found) < least)
        for number, found in members.items()
    ]
    return tuple(sorted(tracks, key=lambda track: (track.spurious, -track.confident_volume, track.number)))


def propose_section(track: Track, usable_frames: Iterable[int]) -> Section:
    """The section of `track` to use as the view: the largest confident one that its neighbours bear out.

    Of the sections whose area differs by at most AGREEMENT (25 %) from the median area over the usable frames within
    NEIGHBOURS (2) before and after, the section's own frame among them and 0 where the track is missing, the one
    of the largest `confident_area` is taken, the earliest of equal ones. So a mask that swells in one frame is passed
    over. If no section agrees with its neighbours, all compete. `usable_frames`: those that could be segmented.
    """
    area = dict.fromkeys(usable_frames, 0) | {section.frame: section.area_px for section in track.sections}

    def agrees(section: Section) -> bool:
        around = range(section.frame - NEIGHBOURS, section.frame + NEIGHBOURS + 1)
        median = float(np.median([area[frame] for frame in around if frame in area]))
        return abs(section.area_px - median) <= AGREEMENT * median

    agreeing = [section for section in track.sections if agrees(section)]
    return max(agreeing or track.sections, key=lambda section: section.confident_area)


@dataclass(frozen=True)
class _Patch:
    """A mask cropped to its rectangle, whose first row and column in the frame are `top` and `left`."""

    top: int
    left: int
    inside: Mask
    area: int
    centre: npt.NDArray[np.float64]

    @classmethod
    def of(cls, mask: Mask) -> _Patch:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        points, corner = np.argwhere(inside), np.array((rows[0], columns[0]))
        return cls(int(rows[0]), int(columns[0]), inside, len(points), points.mean(axis=0) + corner)

    def overlap(self, other: _Patch, down: int = 0, right: int = 0) -> float:
        """Intersection over union with `other`, this patch first moved by (down, right) pixels."""
        top, left = self.top + down - other.top, self.left + right - other.left  # in the other's own pixels
        (rows, columns), (height, width) = other.inside.shape, self.inside.shape
        theirs = other.inside[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        ours = self.inside[max(-top, 0) : max(rows - top, 0), max(-left, 0) : max(columns - left, 0)]
        shared = int((theirs & ours).sum())
        return shared / (self.area + other.area - shared)


@dataclass
class _Last:
    """The last mask of a living track and how it moved, in (row, column) pixels a frame."""

    track: int
    frame: int
    patch: _Patch
    velocity: npt.NDArray[np.float64] | None = None

    def overlap(self, frame: int, patch: _Patch) -> float:
        here = self.patch.overlap(patch)
        if self.velocity is None:
            return here
        down, right = np.rint(self.velocity * (frame - self.frame)).astype(int)
        return max(here, self.patch.overlap(patch, int(down), int(right)))

    def move_on(self, frame: int, patch: _Patch) -> None:
        self.velocity = (patch.centre - self.patch.centre) / (frame - self.frame)
        self.frame, self.patch = frame, patch
