"""Marks that a sonographer or a machine draws on a frame: caliper crosses, dotted lines, text.

Comes in: a frame, (row, column) float32 0-1, a mask and a random state. Goes out: nothing; the frame is drawn on.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from llnm.case import GreyImage, Mask

WORDS = ("RT", "LT", "THYROID", "TRANS", "LONG", "D 1.2cm", "TIS 0.4", "12 Hz", "A", "B", "1", "2", "+", "UPPER")


def draw_calipers(pixels: GreyImage, lesion: Mask, random: np.random.RandomState) -> None:
    """Two crosses with, often, a dotted line between: across `lesion`, or anywhere if it is empty."""
    rows, columns = np.nonzero(lesion)
    if rows.size:
        ends = np.array([[rows.mean(), columns.min()], [rows.mean(), columns.max()]])
        if random.rand() < 0.5:
            ends = np.array([[rows.min(), columns.mean()], [rows.max(), columns.mean()]])
    else:
        ends = random.uniform([0, 0], pixels.shape, size=(2, 2))
    brightness = random.uniform(0.7, 1.0)
    arm = random.randint(2, 5)
    for row, column in ends.astype(int):
        _draw(pixels, np.arange(-arm, arm + 1) + row, np.full(2 * arm + 1, column), brightness)
        _draw(pixels, np.full(2 * arm + 1, row), np.arange(-arm, arm + 1) + column, brightness)
    if random.rand() < 0.6:
        length = float(np.linalg.norm(ends[1] - ends[0]))
        dots = np.linspace(ends[0], ends[1], max(2, int(length / random.uniform(3, 7)))).astype(int)
        _draw(pixels, dots[:, 0], dots[:, 1], brightness)


def draw_text(pixels: GreyImage, random: np.random.RandomState) -> None:
    """One to three words in a plain typeface, anywhere."""
    canvas = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    pen = ImageDraw.Draw(canvas)
    for _ in range(random.randint(1, 4)):
        row, column = random.randint(0, pixels.shape[0]), random.randint(0, pixels.shape[1])
        pen.text((column, row), WORDS[random.randint(len(WORDS))], fill=random.randint(150, 256))
    np.maximum(pixels, np.asarray(canvas, dtype=np.float32) / 255, out=pixels)


def _draw(pixels: GreyImage, rows: np.ndarray, columns: np.ndarray, brightness: float) -> None:
    inside = (rows >= 0) & (rows < pixels.shape[0]) & (columns >= 0) & (columns < pixels.shape[1])
    pixels[rows[inside], columns[inside]] = brightness
