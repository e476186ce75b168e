"""Frames that are no B-mode of the thyroid: colour Doppler, other organs, blank frames, photographs.

Comes in: seeds, real B-mode frames to colour, and the pictures that scikit-image and matplotlib carry. Goes out:
frames by kind, each with the group it belongs to (crops of one photograph belong together), to measure the
out-of-distribution flag on and, by whole kinds, to fit it with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from llnm.case import ColourImage, GreyImage, UltrasoundImage
from llnm.errors import InputError
from llnm.imaging import find_scan_area
from llnm.imaging.frame import LUMA, to_frame
from llnm.simulate.other_organs import ORGANS, PHANTOM, simulate_other_organ

# Pictures of things; scikit-image also carries drawings, which are not taken.
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "ihc", "moon", "motorcycle_left", "motorcycle_right", "retina", "rocket", "grace_hopper",
)  # fmt: skip
BLANKS = ("constant", "noise", "clouds", "gradient", "bars", "checks", "text", "air")
# (rows, columns) of a drawn frame, within these.
_SIZES = ((300, 700), (400, 900))


@dataclass(frozen=True)
class Frame:
    """A frame of a `kind` (such as `liver`); frames of one `group` are not independent."""

    kind: str
    group: str
    image: UltrasoundImage | None
    """None where the reader refuses the frame, as it does with one grey all over."""


def other_organs(
    number: int, seed: int = 0, organs: Sequence[str] = ORGANS, randomise: bool = False
) -> Iterator[Frame]:
    """`number` simulated frames of each organ (or PHANTOM)."""
    for organ in organs:
        for index in range(number):
            rng = np.random.default_rng([seed, 0, (*ORGANS, PHANTOM).index(organ), index])
            yield Frame(organ, f"{organ} {index}", simulate_other_organ(organ, rng, randomise))


def colour_doppler(frames: Sequence[tuple[str, UltrasoundImage]], seed: int = 0) -> Iterator[Frame]:
    """Flow painted on real B-mode frames, given with their groups."""
    for index, (group, image) in enumerate(frames):
        yield Frame("colour Doppler", group, paint_flow(image, np.random.default_rng([seed, 1, index])))


def paint_flow(image: UltrasoundImage, rng: np.random.Generator) -> UltrasoundImage:
    """The frame as colour Doppler: in a box of the scan, vessels in red to yellow and blue to cyan by velocity."""
    area = find_scan_area(image)
    rows, columns = area.shape
    tall, wide = (max(8, int(size * rng.uniform(0.4, 0.8))) for size in (rows, columns))
    top = area.top + int(rng.integers(rows - tall + 1))
    left = area.left + int(rng.integers(columns - wide + 1))
    grain = rng.uniform(0.015, 0.05) * columns
    field = gaussian_filter(rng.standard_normal((tall, wide)), (grain, 1.5 * grain))
    threshold = np.quantile(field, 1 - rng.uniform(0.02, 0.3))
    velocity = np.clip((field - threshold) / max(field.max() - threshold, 1e-9) * rng.uniform(1, 2), 0, 1)
    direction = gaussian_filter(rng.standard_normal((tall, wide)), 3 * grain) > 0
    level = (0.4 + 0.6 * velocity)[..., None]
    flow = np.where(direction[..., None], level * [255, 200 * velocity.mean(), 20], level * [20, 60, 255])
    flow[..., 1] += 160 * velocity**2
    colour = np.repeat((image.pixels * 255 + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    box = (slice(top, top + tall), slice(left, left + wide))
    colour[box] = np.where((field > threshold)[..., None], np.clip(flow, 0, 255).astype(np.uint8), colour[box])
    return replace(image, pixels=(colour @ LUMA / 255).astype(np.float32), colour=colour)


def photographs(number: int, seed: int = 0) -> Iterator[Frame]:
    """`number` frames of each photograph: crops of 40-100 % of its sides, every other one without colour."""
    for stem, path in photograph_files().items():
        with Image.open(path) as picture:
            whole = np.asarray(picture.convert("RGB"))
        for index in range(number):
            rng = np.random.default_rng([seed, 2, PHOTOGRAPHS.index(stem), index])
            rows, columns = (max(64, round(size * rng.uniform(0.4, 1.0))) for size in whole.shape[:2])
            top, left = (
                int(rng.integers(max(1, a - b + 1))) for a, b in zip(whole.shape, (rows, columns), strict=False)
            )
            crop: ColourImage = whole[top : top + rows, left : left + columns]
            if index % 2:
                crop = np.repeat(np.asarray(Image.fromarray(crop).convert("L"))[..., None], 3, axis=2)
            yield Frame("photograph", stem, _read(crop))


def photograph_files() -> Mapping[str, Path]:
    """The photographs that are installed, by stem; raises InputError where there are none."""
    import matplotlib as mpl
    import skimage.data

    folders = (Path(skimage.data.__file__).parent, Path(mpl.get_data_path()) / "sample_data")
    found = {path.stem: path for folder in folders for path in folder.glob("*") if path.suffix in (".png", ".jpg")}
    files = {stem: found[stem] for stem in PHOTOGRAPHS if stem in found}
    if not files:
        raise InputError("photographs: scikit-image and matplotlib carry none here; install them with their data")
    return files


def blanks(number: int, seed: int = 0, names: Sequence[str] = BLANKS) -> Iterator[Frame]:
    """`number` frames of each way to show nothing: one grey, noise, gradients, test patterns, text, a probe in air."""
    for name in names:
        for index in range(number):
            rng = np.random.default_rng([seed, 3, BLANKS.index(name), index])
            shape = tuple(int(rng.integers(low, high)) for low, high in _SIZES)
            pixels = _DRAWN[name]((shape[0], shape[1]), rng)
            colour = np.repeat((255 * pixels + 0.5).astype(np.uint8)[..., None], 3, axis=2)
            yield Frame("blank", f"{name} {index}", _read(colour))


def _read(colour: ColourImage) -> UltrasoundImage | None:
    """As the reader would have it from a file."""
    try:
        pixels, seen, _ = to_frame("image", colour)
    except InputError:
        return None
    return UltrasoundImage(pixels, seen)


def _unit(values: np.ndarray) -> GreyImage:
    return ((values - values.min()) / max(float(np.ptp(values)), 1e-9)).astype(np.float32)


def _constant(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    """Black half the time; a tick of a ruler, as a scanner leaves on an empty screen, in every other one."""
    pixels = np.full(shape, 0.0 if rng.random() < 0.5 else rng.uniform(0, 1), np.float32)
    if rng.random() < 0.5:
        row, column = int(rng.integers(shape[0] - 4)), int(rng.integers(shape[1] - 12))
        pixels[row : row + 2, column : column + 10] = 0.8
    return pixels


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    return np.clip(rng.uniform(0.1, 0.6) + rng.uniform(0.05, 0.3) * rng.standard_normal(shape), 0, 1).astype(np.float32)


def _clouds(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    return _unit(gaussian_filter(rng.standard_normal(shape), rng.uniform(1.5, 20)))


def _gradient(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    rows, columns = np.indices(shape)
    angle = rng.uniform(0, 2 * np.pi)
    return _unit(np.cos(angle) * rows + np.sin(angle) * columns)


def _bars(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    number = int(rng.integers(4, 20))
    bars = np.arange(shape[1]) * number // shape[1] / (number - 1)
    return np.broadcast_to(bars.astype(np.float32), shape).copy()


def _checks(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    rows, columns = np.indices(shape)
    side = int(rng.integers(8, 60))
    return ((rows // side + columns // side) % 2).astype(np.float32)


def _text(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    """A page of words, dark on light or light on dark."""
    page = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(page)
    for row in range(8, shape[0] - 12, int(rng.integers(12, 24))):
        words = " ".join("".join(rng.choice(list("abcdefghinorstu"), int(rng.integers(2, 9)))) for _ in range(30))
        pen.text((10, row), words[: int(rng.integers(20, shape[1] // 6))], fill=255)
    pixels: GreyImage = np.asarray(page, dtype=np.float32) / np.float32(255)
    return 1 - pixels if rng.random() < 0.5 else pixels


def _air(shape: tuple[int, int], rng: np.random.Generator) -> GreyImage:
    """A probe that touches nobody: bands of its own reverberation that fade in the upper part, then noise."""
    depth = np.linspace(0, 1, shape[0])[:, None]
    bands = np.exp(-depth / rng.uniform(0.03, 0.12)) * (0.6 + 0.4 * np.cos(2 * np.pi * depth / rng.uniform(0.02, 0.06)))
    speckle = gaussian_filter(rng.standard_normal(shape), (1, 2))
    noise = rng.uniform(0.01, 0.08) * np.abs(rng.standard_normal(shape)) * depth
    return np.clip(bands * (1 + 0.5 * speckle) + noise, 0, 1).astype(np.float32)


_DRAWN: Mapping[str, Callable[[tuple[int, int], np.random.Generator], GreyImage]] = {
    "constant": _constant,
    "noise": _noise,
    "clouds": _clouds,
    "gradient": _gradient,
    "bars": _bars,
    "checks": _checks,
    "text": _text,
    "air": _air,
}
