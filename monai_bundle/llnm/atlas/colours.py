"""The colours of risk: ColorBrewer's YlOrRd, from values to colours and back.

Comes in: values from 0 to 1, or colours. Goes out: colours (red, green, blue) from 0 to 1, or values.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# The nine classes of YlOrRd (ColorBrewer 2.0, C. Brewer), between which colours are mixed linearly, as matplotlib does.
YLORRD = ("#ffffcc", "#ffeda0", "#fed976", "#feb24c", "#fd8d3c", "#fc4e2a", "#e31a1c", "#bd0026", "#800026")
# Grey, which YlOrRd has nowhere.
NO_EVIDENCE = "#9aa0a6"
_ANCHORS = np.array([[int(code[n : n + 2], 16) for n in (1, 3, 5)] for code in YLORRD]) / 255
_STEPS = np.linspace(0, 1, 2049)


def colours_of(values: npt.ArrayLike) -> Floats:
    """Colours (..., 3) of values (...), both 0-1; what lies outside takes the nearest end."""
    values = np.asarray(values, float)
    positions = np.linspace(0, 1, len(_ANCHORS))
    return np.stack([np.interp(values, positions, channel) for channel in _ANCHORS.T], axis=-1)


def values_of(colours: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Values (...) 0-1 by the hue of colours (..., 3), and how far each is from the map's colour of that value.

    Hue falls all the way from YlOrRd's yellow to its red, and neither light nor shade, which mix a colour with white or
    black, moves it. The distance is Euclidean in (red, green, blue), 0-1: what light and shade added. Grey has no hue:
    its value is NaN.
    """
    colours = np.asarray(colours, float)
    values = np.interp(-_hue(colours), -_hue(colours_of(_STEPS)), _STEPS)
    values = np.where(np.ptp(colours, axis=-1) > 0, values, np.nan)
    return values, np.linalg.norm(colours - colours_of(values), axis=-1)


def _hue(colours: Floats) -> Floats:
    """Degrees, -180 to 180, 0 for red and 60 for yellow (hexagonal, as HSV has it)."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    spread = np.maximum(np.ptp(colours, axis=-1), 1e-12)
    top = colours.argmax(axis=-1)
    hue = np.choose(top, [(green - blue) / spread, 2 + (blue - red) / spread, 4 + (red - green) / spread])
    return np.asarray((60 * hue + 180) % 360 - 180)
