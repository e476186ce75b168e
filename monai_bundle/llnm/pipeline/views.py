"""One view of the patient, measured: prepared frame, masks, features.

Comes in: a `View` as it was given. Goes out: a `MeasuredView`, or a `View` that says why it cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from llnm.case import Mask, Plane, Spacing, Structure, View
from llnm.errors import InputError
from llnm.features import CapsuleDistance, Features, capsule_distance, measure
from llnm.imaging import PreparedImage, is_colour_doppler, prepare
from llnm.segmentation import Segmentation, segment
from llnm.segmentation.candidates import choose, components, find_candidates
from llnm.segmentation.out_of_distribution import DistributionCheck, check_distribution
from llnm.weights import weights_file

Point = tuple[float, float]
# Outlines that the network finds nearly as plausible as its own: level sets of the nodule's probability.
PLAUSIBLE_LEVELS = (0.3, 0.7)
# Masks of one view agree if this share of the nodule lies in the gland.
LEAST_INSIDE_GLAND = 0.9
# A gland found by the network that misses most of the nodule is wrong, and a distance to its capsule would be a guess.
LEAST_INSIDE_FOUND_GLAND = 0.5


@dataclass(frozen=True)
class MeasuredView:
    """What is known of one view.

    `nodule`, `gland`: bool masks of the frame's size; `gland` is None where none was found. `outlines`: further
    plausible outlines of the nodule, for the interval. `other_nodules`: candidates that are not the target.
    `found`: the segmentations that were run, for the quality figures. `distribution`: whether the frame looks like the
    thyroid, None where the weights come without a detector. `capsule`: the shortest way to the capsule.
    """

    plane: Plane
    prepared: PreparedImage
    spacing_mm: Spacing | None
    spacing_source: str
    nodule: Mask
    gland: Mask | None
    features: Features
    capsule: CapsuleDistance | None
    outlines: tuple[Mask, ...]
    other_nodules: tuple[Mask, ...]
    found: Mapping[Structure, Segmentation]
    distribution: DistributionCheck | None
    warnings: tuple[str, ...]

    @property
    def masks(self) -> dict[Structure, Mask]:
        """The masks that were used."""
        return {"nodule": self.nodule} if self.gland is None else {"nodule": self.nodule, "gland": self.gland}

    @property
    def quality(self) -> dict[str, float]:
        """Figures that tell whether this view can be trusted; probabilities and uncertainties are 0-1."""
        figures = dict(self.prepared.quality)
        for structure, segmentation in self.found.items():
            used = segmentation.target
            figures[f"{structure}_probability"] = float(segmentation.probability[used].mean()) if used.any() else 0.0
            figures[f"{structure}_uncertainty"] = float(segmentation.uncertainty[used].mean()) if used.any() else 0.0
            if segmentation.expected_dice is not None:
                figures[f"{structure}_expected_dice"] = segmentation.expected_dice
        if self.distribution is not None:
            figures["out_of_distribution"] = self.distribution.score
        figures["nodules_found"] = 1.0 + len(self.other_nodules)
        return figures


def measure_view(
    view: View, point: Point | None = None, weights: Path | None = None, judged: bool = True
) -> MeasuredView | str:
    """Prepare, segment and measure one view; a sentence instead where there is no nodule or no B-mode to measure.

    `point`: (x, y) of the nodule to take, in pixels. `weights`: a folder of bundles, else the shipped ones. Given masks
    are taken as they are, and only if `judged` is their frame checked for being a thyroid at all. Raises InputError for
    a given nodule mask that lies wholly outside the given gland mask, or a point at no nodule.
    """
    if is_colour_doppler(view.image):
        return f"{view.plane}: this is a colour Doppler frame, which the networks never see; give the B-mode frame"
    prepared = prepare(view.image)
    found: dict[Structure, Segmentation] = {}
    given = view.masks.get("nodule")
    if given is None:
        found["nodule"] = segmentation = segment(
            prepared, "nodule", point=point, weights=weights and weights_file("nodule", weights)
        )
        distribution = segmentation.distribution
        if distribution is not None and distribution.certain:
            return (
                f"{view.plane}: this is no thyroid B-mode image ({distribution.reason}); if it is one, draw its nodule"
            )
        if not segmentation.found:
            return f"{view.plane}: no nodule was found; give a nodule mask or point at it"
        nodule, candidates = segmentation.target, segmentation.candidates
        outlines = _plausible_outlines(segmentation)
    else:
        candidates = components(given)
        nodule, outlines = choose(candidates, "nodule", given.shape, point=point), ()
        distribution = check_distribution(prepared, weights_file("nodule", weights)) if judged else None
    gland, warnings = _gland(view, prepared, nodule, found, weights)
    features = measure(prepared.bmode, nodule, gland, prepared.spacing_mm, view.plane)
    return MeasuredView(
        plane=view.plane,
        prepared=prepared,
        spacing_mm=prepared.spacing_mm,
        spacing_source=view.image.spacing_source,
        nodule=nodule,
        gland=gland,
        features=features,
        capsule=None if gland is None else capsule_distance(nodule, gland, prepared.spacing_mm),
        outlines=outlines,
        other_nodules=tuple(mask for mask in candidates if not (mask & nodule).any()),
        found=found,
        distribution=distribution,
        warnings=tuple(
            f"{view.plane}: {text}"
            for text in (
                *prepared.warnings,
                *(distribution.warnings if distribution else ()),
                *warnings,
                *_doubts(features),
            )
        ),
    )


def _doubts(features: Features) -> tuple[str, ...]:
    """What a reader must know before trusting the distance to the capsule."""
    doubts = []
    if features.capsule_at_image_border:
        doubts.append("the gland is cut off by the image, so the distance to the capsule is a lower limit")
    inside = features.fraction_inside_gland
    if inside is not None and inside < LEAST_INSIDE_GLAND:
        doubts.append(f"only {inside:.0%} of the nodule lies inside the gland mask; check both masks")
    return tuple(doubts)


def _gland(
    view: View, prepared: PreparedImage, nodule: Mask, found: dict[Structure, Segmentation], weights: Path | None
) -> tuple[Mask | None, tuple[str, ...]]:
    """The gland with the nodule in it, and what has to be said of it.

    A given gland is taken as it is; one that the network found is set aside where it misses most of the nodule.
    """
    given = view.masks.get("gland")
    if given is not None:
        # Some annotators cut the nodule out of the gland; the capsule is the outer line.
        filled = ndimage.binary_fill_holes(given)
        if (filled & nodule).any():
            return filled, ()
        if "nodule" in view.masks:
            raise InputError(
                f"{view.plane} nodule mask: it lies wholly outside the {view.plane} gland mask; check that both belong "
                "to this image"
            )
        return None, ("the nodule found lies outside the given gland mask; location not available",)
    found["gland"] = segmentation = segment(prepared, "gland", weights=weights and weights_file("gland", weights))
    if not segmentation.found:
        return None, ("no gland was found; location not available, give a gland mask",)
    if segmentation.mask[nodule].mean() < LEAST_INSIDE_FOUND_GLAND:
        return None, ("the gland found does not hold the nodule; location not available, give a gland mask",)
    return segmentation.mask, ()


def _plausible_outlines(segmentation: Segmentation) -> tuple[Mask, ...]:
    """The target's component at each plausible level; a level at which it vanishes or bursts is left out."""
    outlines = []
    size = segmentation.target.sum()
    for level in PLAUSIBLE_LEVELS:
        components = find_candidates(segmentation.probability, "nodule", level)
        touching = [mask for mask in components if (mask & segmentation.target).any()]
        if touching and 0.25 * size < touching[0].sum() < 4 * size:
            outlines.append(np.asarray(touching[0]))
    return tuple(outlines)
