"""Smooth random fields: the unevenness of tissues, bent along their layers.

Comes in: the depth and across axes of the beam grid (mm) and a random generator. Goes out: fields of zero mean and unit
variance with Gaussian correlation, made by two small matrix products.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class Texture:
    """Smooth random fields on the beam grid, bent along the tissue layers."""

    def __init__(self, depth: Array, across: Array, rng: np.random.Generator) -> None:
        self.depth, self.across, self.rng = depth, across, rng
        self._bases: dict[tuple[str, float], Array] = {}
        bend = rng.uniform(0.2, 0.9) * self._waves(16.0)
        step = depth[1] - depth[0]
        rows = (
            np.arange(len(depth))[:, None] + np.round((bend + rng.normal(0, 0.03) * across) / step).astype(int)[None, :]
        )
        self._rows = np.clip(rows, 0, len(depth) - 1)

    def field(self, tall_mm: float, wide_mm: float, layered: bool = False) -> Array:
        """Zero mean, unit variance, with Gaussian correlation of the given standard deviations."""
        rows, columns = self._basis("depth", tall_mm), self._basis("across", wide_mm)
        noise = self.rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
        field = np.asarray(rows @ noise @ columns.T, dtype=np.float32)
        return np.take_along_axis(field, self._rows, axis=0) if layered else field

    def line(self, size_mm: float) -> Array:
        """A wavy function of the position across, unit variance."""
        return self._waves(size_mm)

    def _waves(self, size_mm: float) -> Array:
        basis = self._basis("across", size_mm)
        return basis @ self.rng.standard_normal(basis.shape[1], dtype=np.float32)

    def _basis(self, name: Literal["depth", "across"], size_mm: float) -> Array:
        """Bells along an axis; most sizes are asked for more than once."""
        if (name, size_mm) in self._bases:
            return self._bases[name, size_mm]
        axis: Array = getattr(self, name)
        low, high = float(axis.min()), float(axis.max())
        centres = np.arange(low - 2 * size_mm, high + 2 * size_mm, size_mm)
        basis = np.exp(-(((axis[:, None] - centres[None, :]) / size_mm) ** 2))
        basis = (basis / np.sqrt((basis**2).sum(axis=1, keepdims=True))).astype(np.float32)
        return self._bases.setdefault((name, size_mm), basis)
