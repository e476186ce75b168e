"""Pictures of the views: the scan area with the contours, the shortest way to the capsule and a scale bar.

Comes in: a `ReportView`, the frame of one plane with its masks. Goes out: Pillow images and PNG data URIs. Pixels are
shown square in millimetres where the spacing is known. Colours are from the palette of Okabe and Ito (Color Universal
Design, 2008), and each outline also has a dash pattern of its own, so that none is told by its colour alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from llnm.case import Box, GreyImage, Mask, Plane, Spacing, Structure
from llnm.errors import LLNMError

Point = tuple[float, float]
Points = npt.NDArray[np.float64]

NODULE_COLOUR = "#E69F00"
GLAND_COLOUR = "#56B4E9"
LINE_COLOUR = "#FFFFFF"
CASING_COLOUR = "#000000"
HEAT_COLOURS = ("#000004", "#57106E", "#BC3754", "#F98E09", "#FCFFA4")
"""Five stops of matplotlib's `inferno`, whose lightness grows evenly and survives a black-and-white print."""

LONG_SIDE = 900
"""Pixels of a picture's longer side: about 250 dots per inch where two views share the width of A4."""
SUPERSAMPLE = 2
SCALE_BAR_STEPS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


@dataclass(frozen=True, eq=False)
class ReportView:
    """One plane as the report shows it.

    `bmode`: (row, column) float32, 0-1, the whole frame. `masks`, `candidates` (other nodules) and `attention` (a heat
    map, at least 0; only its ratios matter) have the frame's size. `spacing_mm`: (row, column) millimetres per pixel or
    None. `scan_area`: the rectangle that is shown. `capsule_line`: ((row, col), (row, col)) in pixels of the frame, the
    shortest segment from the nodule to the capsule.

    Raises LLNMError where a mask or map has another size than the frame, or the scan area lies outside it.
    """

    plane: Plane
    bmode: GreyImage
    masks: Mapping[Structure, Mask]
    spacing_mm: Spacing | None
    scan_area: Box
    candidates: tuple[Mask, ...] = field(default=())
    attention: GreyImage | None = None
    capsule_line: tuple[Point, Point] | None = None

    def __post_init__(self) -> None:
        shapes = {f"{structure} mask": mask.shape for structure, mask in self.masks.items()}
        shapes |= {f"candidate {index}": mask.shape for index, mask in enumerate(self.candidates)}
        if self.attention is not None:
            shapes["attention"] = self.attention.shape
        for name, shape in shapes.items():
            if shape != self.bmode.shape:
                raise LLNMError(f"{self.plane} {name}: size {shape} differs from the view's {self.bmode.shape}")
        area = self.scan_area
        rows, columns = self.bmode.shape
        if not (0 <= area.top < area.bottom <= rows and 0 <= area.left < area.right <= columns):
            raise LLNMError(
                f"{self.plane} scan area: {area} is empty or reaches over the view's {rows}x{columns} pixels"
            )


def draw_view(view: ReportView, distance_label: str | None = None) -> Image.Image:
    """The scan area as an RGB image with its contours; `distance_label` (such as `1.8 mm`) stands beside the line."""
    picture = _grey(view)
    canvas = _Canvas(view, picture.size)
    if "gland" in view.masks:
        canvas.outline(view.masks["gland"], GLAND_COLOUR, dash=(18, 10))
    for candidate in view.candidates:
        canvas.outline(candidate, NODULE_COLOUR, dash=(4, 8))
    if "nodule" in view.masks:
        canvas.outline(view.masks["nodule"], NODULE_COLOUR)
    if view.capsule_line is not None:
        canvas.distance(view.capsule_line, distance_label)
    canvas.scale_bar()
    return canvas.over(picture)


def draw_attention(view: ReportView) -> Image.Image | None:
    """The scan area under its heat map, with the nodule's contour, as an RGB image; None without a heat map."""
    if view.attention is None:
        return None
    heat = np.clip(view.attention[view.scan_area.slices].astype(np.float64), 0, None)
    heat = heat / max(float(heat.max()), np.finfo(np.float64).tiny)
    grey = np.asarray(_grey(view).convert("L"), dtype=np.float64)[..., None]
    large = Image.fromarray(heat.astype(np.float32)).resize(grey.shape[1::-1], Image.Resampling.BILINEAR)
    share = np.clip(np.asarray(large, dtype=np.float64), 0, 1)
    stops = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in HEAT_COLOURS], dtype=np.float64)
    colours = np.stack([np.interp(share, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], axis=-1)
    opacity = 0.7 * share[..., None] ** 0.5
    picture = Image.fromarray(np.round((1 - opacity) * grey + opacity * colours).astype(np.uint8))
    canvas = _Canvas(view, picture.size)
    if "nodule" in view.masks:
        canvas.outline(view.masks["nodule"], LINE_COLOUR)
    return canvas.over(picture)


def data_uri(picture: Image.Image) -> str:
    """The picture as a `data:image/png;base64,...` address, so that a page needs no second file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _grey(view: ReportView) -> Image.Image:
    pixels = np.clip(view.bmode[view.scan_area.slices], 0, 1)
    row_mm, column_mm = view.spacing_mm or (1.0, 1.0)
    height, width = pixels.shape[0] * row_mm, pixels.shape[1] * column_mm
    scale = LONG_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return (
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    )


class _Canvas:
    """A transparent layer over the scan area, drawn larger and reduced, so that its lines have smooth edges."""

    def __init__(self, view: ReportView, size: tuple[int, int]) -> None:
        self.view, self.size = view, size
        self.layer = Image.new("RGBA", (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE))
        self.draw = ImageDraw.Draw(self.layer)
        rows, columns = view.scan_area.shape
        self.per_pixel = np.array([self.layer.width / columns, self.layer.height / rows])
        self.font = ImageFont.load_default(size=32 * SUPERSAMPLE)

    def place(self, points: npt.ArrayLike) -> Points:
        """(row, column) centres of pixels of the frame -> (x, y) on the layer."""
        corner = np.array([self.view.scan_area.top, self.view.scan_area.left])
        result: Points = (np.asarray(points, dtype=np.float64) - corner + 0.5)[:, ::-1] * self.per_pixel
        return result

    def outline(self, mask: Mask, colour: str, dash: tuple[int, int] | None = None) -> None:
        """The border of a mask, halfway between the pixels inside and outside it."""
        area = self.view.scan_area
        inside = np.pad(mask[area.slices].astype(np.uint8), 1)
        for contour in find_contours(inside, 0.5):
            path = self.place(contour - 1 + (area.top, area.left))
            for piece in [path] if dash is None else _dashes(path, *(length * SUPERSAMPLE for length in dash)):
                self.line(piece, colour, 4)

    def line(self, points: Points, colour: str, width: int) -> None:
        """A coloured line in a thin dark casing, to be seen on bright and dark tissue alike."""
        path = [(float(x), float(y)) for x, y in points]
        self.draw.line(path, fill=CASING_COLOUR, width=(width + 2) * SUPERSAMPLE, joint="curve")
        self.draw.line(path, fill=colour, width=width * SUPERSAMPLE, joint="curve")

    def dots(self, points: Points, colour: str, radius: float) -> None:
        """A filled circle at each point."""
        reach = radius * SUPERSAMPLE
        for x, y in points:
            self.draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def distance(self, ends: tuple[Point, Point], label: str | None) -> None:
        """The shortest way from the nodule to the capsule: a line between two dots, its length beside it."""
        points = self.place(ends)
        self.dots(points, CASING_COLOUR, 6)
        self.line(points, LINE_COLOUR, 4)
        self.dots(points, LINE_COLOUR, 4.5)
        if label:
            x, y = points.mean(axis=0)
            self.text(x + 16 * SUPERSAMPLE, y, label, "lm")

    def text(self, x: float, y: float, text: str, anchor: str) -> None:
        """White text with a dark edge, moved back where it would leave the picture."""
        edge = 2 * SUPERSAMPLE
        left, top, right, bottom = self.draw.textbbox((x, y), text, font=self.font, anchor=anchor, stroke_width=edge)
        x += max(0.0, -left) - max(0.0, right - self.layer.width)
        y += max(0.0, -top) - max(0.0, bottom - self.layer.height)
        self.draw.text(
            (x, y), text, LINE_COLOUR, self.font, anchor=anchor, stroke_width=edge, stroke_fill=CASING_COLOUR
        )

    def scale_bar(self) -> None:
        """A round number of millimetres, at most a third of the width; nothing where the spacing is unknown."""
        if self.view.spacing_mm is None:
            return
        per_mm = self.per_pixel[0] / self.view.spacing_mm[1]
        lengths = [step for step in SCALE_BAR_STEPS_MM if step * per_mm <= self.layer.width / 3]
        if not lengths:
            return
        margin = 22 * SUPERSAMPLE
        right, y = self.layer.width - margin, self.layer.height - margin
        left = right - lengths[-1] * per_mm
        self.line(np.array([(left, y), (right, y)]), LINE_COLOUR, 6)
        self.text((left + right) / 2, y - 8 * SUPERSAMPLE, f"{lengths[-1]:g} mm", "mb")

    def over(self, picture: Image.Image) -> Image.Image:
        """The picture with this layer on it."""
        layer = self.layer.resize(self.size, Image.Resampling.BOX)
        return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _dashes(path: Points, on: float, off: float) -> list[Points]:
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    starts = np.arange(0, max(lengths[-1], 1e-9), on + off)
    positions = starts[:, None] + np.linspace(0, on, 6)
    x, y = (np.interp(positions, lengths, path[:, axis]) for axis in (0, 1))
    return list(np.stack([x, y], axis=-1))
