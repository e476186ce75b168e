"""Shapes drawn from formulas, random masks, and real masks for the tests of this folder."""

import os
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

DATA = Path(os.environ.get("LLNM_DATA", Path(__file__).parents[3] / "shared" / "data"))
repeatable = settings(max_examples=80, deadline=None, derandomize=True)

spacings = st.sampled_from([None, (0.1, 0.1), (0.05, 0.12), (0.3, 0.07)])
shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def ellipse(shape, centre, radii, degrees=0.0):
    """Pixels whose centres lie in an ellipse; centre and radii as (row, column), turned by `degrees`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y - centre[0], x - centre[1]
    angle = np.deg2rad(degrees)
    u, v = y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)
    return (u / radii[0]) ** 2 + (v / radii[1]) ** 2 <= 1


def box(shape, top, left, bottom, right):
    """A rectangle of pixels, ends exclusive."""
    mask = np.zeros(shape, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def speckle(shape, seed=0):
    """An image without two equal neighbourhoods, values 0.2-0.8."""
    return np.random.default_rng(seed).uniform(0.2, 0.8, shape).astype(np.float32)


@st.composite
def masks(draw, shape=None):
    """Any mask with at least one pixel: scattered pixels, several components, holes, cut by the image border."""
    shape = draw(shapes) if shape is None else shape
    mask = draw(arrays(bool, shape, elements=st.booleans()))
    if draw(st.booleans()):  # coarse blocks instead of single pixels, so that there is an inside
        mask = np.kron(mask, np.ones((4, 4), dtype=bool))[: shape[0], : shape[1]]
    mask[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = True
    return mask


def real_gland_views():
    """Every image of the gland data with its name, nodule and gland masks."""
    folder = DATA / "gland"
    for path in sorted((folder / "nodule").glob("*.png")):
        bmode = np.asarray(Image.open(folder / "images" / f"{path.stem}.jpg").convert("L"), dtype=np.float32) / 255
        nodule, gland = (np.asarray(Image.open(folder / kind / path.name)) > 127 for kind in ("nodule", "gland"))
        yield path.stem, bmode, nodule, gland
