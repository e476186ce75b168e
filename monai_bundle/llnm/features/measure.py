"""The numbers of one view that a report states and the network reads.

Comes in: a B-mode image (row, column) 0-1, the nodule's mask, and the gland's mask, spacing, plane and side as far as
they are known. Goes out: Features. What cannot be known is None: no spacing, no millimetres; no gland, no location.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from llnm.case import GreyImage, Mask, Plane, Spacing
from llnm.features.checks import checked_image, checked_mask, checked_spacing
from llnm.features.echogenicity import echogenicity_difference
from llnm.features.location import Side, capsule_distance, check_orientation, direction_name
from llnm.features.shape import shape_of


@dataclass(frozen=True)
class Features:
    """Measured features of the nodule in one view; None is "not available".

    Sizes in millimetres with their twins in pixels: width along columns, height along rows (depth). `aspect_ratio` =
    height / width in millimetres, or in pixels taken as square where the spacing is unknown. `echogenicity_difference`:
    outside minus inside, -1 to 1. `capsule_distance_*`: the shortest way to the capsule, 0 on contact; both measure the
    same way, the shortest in millimetres where they are known. `capsule_direction`: anterior or posterior; medial or
    lateral, "left of image" or "right of image" (transverse); superior or inferior (longitudinal).
    `capsule_at_image_border`: that point of the capsule is where the image ends, so the distance is a lower limit.
    `nodule_outside_gland`: the two masks share no pixel, so nothing is said of the capsule.
    `fraction_inside_gland`: share of the nodule's pixels that are gland, 0-1; a low one means masks that disagree.
    """

    width_mm: float | None
    height_mm: float | None
    aspect_ratio: float
    area_mm2: float | None
    echogenicity_difference: float | None
    capsule_distance_mm: float | None
    width_px: float
    height_px: float
    area_px: float
    capsule_distance_px: float | None
    capsule_direction: str | None
    capsule_at_image_border: bool | None
    nodule_outside_gland: bool
    fraction_inside_gland: float | None

    def as_dict(self) -> dict[str, float | str | bool | None]:
        """Names and plain values, in the order of the fields, ready for JSON."""
        return asdict(self)


def measure(
    bmode: GreyImage,
    nodule: Mask,
    gland: Mask | None = None,
    spacing_mm: Spacing | None = None,
    plane: Plane = "transverse",
    side: Side | None = None,
) -> Features:
    """All features of the nodule in one view.

    `bmode` (row, column) 0-1, standardised, 0 outside the scan area; masks of its size, the nodule's holding one nodule
    and the gland's including it; `spacing_mm` (row, column); `side` the lobe, if known. Formulas and sources:
    shape_of, echogenicity_difference, capsule_distance, direction_name. Raises InputError for an image that is not
    finite or not 0-1, empty masks or masks of another size, an impossible spacing, an unknown plane or side.
    """
    bmode = checked_image(bmode)
    nodule = checked_mask(nodule, "nodule", bmode.shape)
    spacing_mm = checked_spacing(spacing_mm)
    check_orientation(plane, side)
    gland = None if gland is None else checked_mask(gland, "gland", bmode.shape)
    shared = None if gland is None else float(gland[nodule].mean())
    pixels = shape_of(nodule)
    millimetres = None if spacing_mm is None else shape_of(nodule, spacing_mm)
    way = capsule_distance(nodule, gland, spacing_mm) if gland is not None and shared else None
    return Features(
        width_mm=millimetres.width if millimetres else None,
        height_mm=millimetres.height if millimetres else None,
        aspect_ratio=(millimetres or pixels).aspect_ratio,
        area_mm2=millimetres.area if millimetres else None,
        echogenicity_difference=echogenicity_difference(bmode, nodule),
        capsule_distance_mm=way.distance if way and spacing_mm else None,
        width_px=pixels.width,
        height_px=pixels.height,
        area_px=pixels.area,
        capsule_distance_px=way.distance_px if way else None,
        capsule_direction=direction_name(way.direction, plane, side) if way and way.direction else None,
        capsule_at_image_border=way.at_image_border if way else None,
        nodule_outside_gland=shared == 0,
        fraction_inside_gland=shared,
    )
