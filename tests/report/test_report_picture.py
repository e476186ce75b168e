"""The pictures: contours where the masks end, millimetres to scale, nothing from beside the scan area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor
from report_examples import real_views
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, distance_transform_edt

from llnm.case import Box
from llnm.errors import LLNMError
from llnm.report import ReportView, draw_attention, draw_view
from llnm.report.picture import GLAND_COLOUR, NODULE_COLOUR, SCALE_BAR_STEPS_MM


def coloured(picture: Image.Image, colour: str) -> np.ndarray:
    """Where a picture has (nearly) this colour."""
    difference = np.asarray(picture).astype(int) - np.array(ImageColor.getrgb(colour))
    return np.abs(difference).max(axis=-1) <= 24


def displayed(mask: np.ndarray, view: ReportView, picture: Image.Image) -> np.ndarray:
    """The mask's scan area at the picture's size, by the nearest pixel."""
    shown = Image.fromarray(mask[view.scan_area.slices].astype(np.uint8) * 255)
    return np.asarray(shown.resize(picture.size, Image.Resampling.NEAREST)) > 0


def distance_to_border(mask: np.ndarray) -> np.ndarray:
    """Pixels from everywhere to the border of the mask; the frame's edge counts as a border."""
    inside = np.pad(mask, 1)
    distance = distance_transform_edt(inside) + distance_transform_edt(~inside) - 1
    return distance[1:-1, 1:-1]


@pytest.mark.parametrize("plane", ["transverse", "longitudinal"])
def test_the_contours_run_along_the_edges_of_the_masks(plane: str) -> None:
    view = replace(real_views()[plane], candidates=(), capsule_line=None)
    picture = draw_view(view)
    pixel = picture.width / view.scan_area.shape[1]
    for structure, colour, share in (("nodule", NODULE_COLOUR, 0.99), ("gland", GLAND_COLOUR, 0.5)):
        line = coloured(picture, colour)
        mask = displayed(view.masks[structure], view, picture)
        assert distance_to_border(mask)[line].max() < pixel + 4, "colour only at the edge"
        edge = mask & ~binary_erosion(mask)
        near = binary_dilation(line, iterations=int(pixel) + 2)
        assert near[edge].mean() > share, "and along all of it, or along its dashes"


def test_a_square_is_outlined_between_its_last_pixels_and_the_next() -> None:
    mask = np.zeros((90, 90), dtype=bool)
    mask[30:60, 20:70] = True
    frame = np.full((90, 90), 0.5, dtype=np.float32)
    picture = draw_view(ReportView("transverse", frame, {"nodule": mask}, None, Box(0, 0, 90, 90)))
    assert picture.size == (900, 900)
    rows, columns = np.nonzero(coloured(picture, NODULE_COLOUR))
    centres = (rows.min() + 1.5, rows.max() - 0.5, columns.min() + 1.5, columns.max() - 0.5)
    assert centres == pytest.approx((300, 600, 200, 700), abs=1.5)
    filled = binary_fill_holes(coloured(picture, NODULE_COLOUR))
    assert filled.sum() == pytest.approx(300 * 500, rel=0.02)


def test_without_masks_the_picture_is_the_scan_area_and_nothing_else() -> None:
    view = real_views()["transverse"]
    bare = replace(view, masks={}, candidates=(), capsule_line=None, spacing_mm=None)
    picture = np.asarray(draw_view(bare))
    assert np.ptp(picture, axis=-1).max() == 0, "grey"
    small = np.asarray(Image.fromarray(picture[..., 0]).resize(view.scan_area.shape[::-1], Image.Resampling.BOX))
    original = view.bmode[view.scan_area.slices] * 255
    assert np.corrcoef(small.ravel(), original.ravel())[0, 1] > 0.98


def test_text_burnt_in_beside_the_scan_area_never_reaches_a_picture() -> None:
    view = replace(real_views()["transverse"], attention=np.ones((262, 361), dtype=np.float32))
    burnt = np.ones_like(view.bmode)
    burnt[view.scan_area.slices] = view.bmode[view.scan_area.slices]
    changed = replace(view, bmode=burnt)
    assert draw_view(changed).tobytes() == draw_view(view).tobytes()
    assert draw_attention(changed).tobytes() == draw_attention(view).tobytes()


@pytest.mark.parametrize("spacing", [0.03, 0.08, 0.19])
def test_the_scale_bar_is_as_long_as_it_says(spacing: float) -> None:
    frame = np.zeros((200, 300), dtype=np.float32)
    view = ReportView("transverse", frame, {}, (spacing, spacing), Box(0, 0, 200, 300))
    picture = np.asarray(draw_view(view))
    bar = picture[picture.shape[0] - 22] > 128
    length_mm = bar[:, 0].sum() / picture.shape[1] * 300 * spacing
    fitting = max(step for step in SCALE_BAR_STEPS_MM if step <= 300 * spacing / 3)
    assert length_mm == pytest.approx(fitting, rel=0.04)
    assert not np.asarray(draw_view(replace(view, spacing_mm=None))).any(), "no spacing, no scale"


def test_pixels_that_are_not_square_are_shown_square_in_millimetres() -> None:
    rows, columns = np.indices((100, 200))
    disc = np.hypot((rows - 50) * 0.2, (columns - 100) * 0.1) < 8
    frame = np.zeros((100, 200), dtype=np.float32)
    picture = draw_view(ReportView("transverse", frame, {"nodule": disc}, (0.2, 0.1), Box(0, 0, 100, 200)))
    assert picture.size == (900, 900)
    where = np.nonzero(coloured(picture, NODULE_COLOUR))
    assert np.ptp(where[0]) == pytest.approx(np.ptp(where[1]), rel=0.03)


def test_the_line_to_the_capsule_joins_its_two_ends() -> None:
    frame = np.zeros((90, 90), dtype=np.float32)
    view = ReportView("transverse", frame, {}, None, Box(0, 0, 90, 90), capsule_line=((20, 30), (60, 30)))
    white = np.asarray(draw_view(view))[..., 0] > 200
    assert white[205:606, 305].all()
    assert not white[:190].any() and not white[620:].any()


def test_the_heat_map_is_hottest_where_attention_is_and_leaves_the_rest_as_it_was() -> None:
    view = real_views()["transverse"]
    plain = replace(view, masks={}, candidates=(), capsule_line=None, spacing_mm=None)
    peak = np.zeros_like(view.bmode)
    peak[100:120, 150:180] = 3.0
    heated = np.asarray(draw_attention(replace(plain, attention=peak))).astype(int)
    warm = np.ptp(heated, axis=-1) > 40
    rows, columns = np.nonzero(warm)
    pixel = heated.shape[1] / view.scan_area.shape[1]
    assert rows.mean() / pixel + view.scan_area.top == pytest.approx(110, abs=1)
    assert columns.mean() / pixel + view.scan_area.left == pytest.approx(165, abs=1)
    cold = np.asarray(draw_attention(replace(plain, attention=np.zeros_like(peak))))
    assert np.array_equal(cold, np.asarray(draw_view(plain)))
    assert draw_attention(replace(plain, attention=None)) is None


@pytest.mark.parametrize("shape", [(1, 1), (2, 700), (1400, 3)])
def test_odd_sizes_are_drawn_too(shape: tuple[int, int]) -> None:
    mask = np.ones(shape, dtype=bool)
    view = ReportView("transverse", np.zeros(shape, dtype=np.float32), {"gland": mask}, (0.1, 0.1), Box(0, 0, *shape))
    assert max(draw_view(view, "0.0 mm").size) == 900


def test_a_view_whose_parts_do_not_fit_together_is_refused() -> None:
    view = real_views()["transverse"]
    with pytest.raises(LLNMError, match="nodule mask"):
        replace(view, masks={"nodule": np.ones((3, 3), dtype=bool)})
    with pytest.raises(LLNMError, match="attention"):
        replace(view, attention=np.ones((3, 3), dtype=np.float32))
    for area in (Box(5, 5, 5, 9), Box(0, 0, 263, 100), Box(-1, 0, 10, 10)):
        with pytest.raises(LLNMError, match="scan area"):
            replace(view, scan_area=area)
