"""From what scatters to what a scanner shows: speckle, attenuation, gain and log compression.

Comes in: maps of echo strength (dB) and attenuation (dB/mm) on the beam grid (rows are depth samples, columns are
beams). Goes out: the detected envelope in dB. The scattered field is complex Gaussian noise convolved with a separable
Gaussian point spread function whose lateral width grows away from the focus, so that its envelope is Rayleigh
distributed (signal-to-noise ratio 1.91) where the tissue is even:
Wagner et al., IEEE Trans. Sonics Ultrason. 30, 156 (1983).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import gaussian_filter, gaussian_filter1d

Array = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]

_NOMINAL_ATTENUATION = 0.8  # dB/mm there and back at about 9 MHz, which the time gain takes back


@dataclass(frozen=True)
class Scanner:
    """Settings of one simulated scanner. Lengths in mm, levels in dB.

    `axial_mm`, `lateral_mm`: standard deviations of the point spread at the focus. `gain_waves`: (amplitude dB, waves
    per depth, phase) rows of the error of the time gain. `noise_db`: electronic noise before the time gain.
    `smoothing`: width of the averaging of the envelope (compounding, speckle reduction) in units of the point spread.
    """

    axial_mm: float
    lateral_mm: float
    focus_mm: float
    focal_zone_mm: float
    noise_db: float
    gain_waves: Array
    dynamic_range_db: float
    gland_grey: float
    gamma: float
    smoothing: float

    @staticmethod
    def sample(rng: np.random.Generator, randomise: bool = False) -> Scanner:
        """A scanner; with `randomise` far beyond what real ones do (speckle size, gain, grey curve, blur)."""
        wide = 2.0 if randomise else 1.0
        amplitude = rng.normal(0.0, 2.0 * wide, 3)
        waves = np.stack([amplitude, rng.uniform(0.15, 1.2, 3), rng.uniform(0, 2 * math.pi, 3)], axis=1)
        return Scanner(
            axial_mm=rng.uniform(0.07, 0.12) * (rng.uniform(0.7, 2.2) if randomise else 1.0),
            lateral_mm=rng.uniform(0.13, 0.22) * (rng.uniform(0.7, 2.2) if randomise else 1.0),
            focus_mm=rng.uniform(12.0, 24.0),
            focal_zone_mm=rng.uniform(12.0, 22.0),
            noise_db=rng.uniform(-58.0, -46.0) + (rng.uniform(0.0, 14.0) if randomise else 0.0),
            gain_waves=waves.astype(np.float32),
            dynamic_range_db=rng.uniform(38.0, 85.0) if randomise else rng.uniform(50.0, 64.0),
            gland_grey=rng.uniform(0.28, 0.8) if randomise else rng.uniform(0.4, 0.55),
            gamma=rng.uniform(0.65, 1.5) if randomise else rng.uniform(0.9, 1.2),
            smoothing=rng.uniform(0.0, 2.0) if randomise else rng.uniform(0.4, 1.1),
        )


def scattered_field(
    amplitude: ComplexArray, step_mm: tuple[float, float], scanner: Scanner, rng: np.random.Generator
) -> ComplexArray:
    """Field received from scatterers of the given amplitude: (row, beam) complex, unit mean power where amplitude is 1.

    `step_mm` is (depth, beam) sampling. A real amplitude map gives fully developed speckle.
    """
    noise = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return point_spread(noise * amplitude, step_mm, scanner) * np.float32(math.sqrt(0.5))


def point_spread(field: ComplexArray, step_mm: tuple[float, float], scanner: Scanner) -> ComplexArray:
    """Convolve with the point spread, scaled so that white noise keeps its power at every depth."""
    axial = max(scanner.axial_mm / step_mm[0], 0.5)
    field = gaussian_filter1d(field, axial, axis=0, mode="nearest", truncate=3.0)
    depth = np.arange(field.shape[0]) * step_mm[0]
    lateral = scanner.lateral_mm / step_mm[1] * np.hypot(1.0, (depth - scanner.focus_mm) / scanner.focal_zone_mm)
    beams = fft.next_fast_len(field.shape[1] + 16)
    frequency = 2 * math.pi * fft.fftfreq(beams)
    transfer = np.exp(-0.5 * (lateral[:, None] * frequency[None, :]) ** 2).astype(np.float32)
    power = np.sqrt((transfer**2).mean(axis=1, keepdims=True)) * _norm_of_gaussian(axial)
    spectrum = fft.fft(field, beams, axis=1) * (transfer / power.astype(np.float32))
    return fft.ifft(spectrum, axis=1)[:, : field.shape[1]].astype(np.complex64)


def received_db(
    field: ComplexArray, attenuation: Array, step_mm: tuple[float, float], scanner: Scanner, rng: np.random.Generator
) -> Array:
    """Envelope in dB after attenuation along each beam, electronic noise and an imperfect time gain."""
    loss = np.cumsum(gaussian_filter1d(attenuation, 1.5, axis=1, mode="nearest"), axis=0) * np.float32(step_mm[0])
    noise = rng.standard_normal((*field.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    total = field * 10 ** (-loss / 20) + noise * np.float32(10 ** (scanner.noise_db / 20) * math.sqrt(0.5))
    depth = np.linspace(0.0, 1.0, field.shape[0])
    error = sum(a * np.sin(2 * math.pi * k * depth + phase) for a, k, phase in scanner.gain_waves)
    gain = _NOMINAL_ATTENUATION * depth * field.shape[0] * step_mm[0] + error
    width = (scanner.smoothing * scanner.axial_mm / step_mm[0], scanner.smoothing * scanner.lateral_mm / step_mm[1])
    envelope = gaussian_filter(np.abs(total), width, mode="nearest", truncate=2.5)
    return (20 * np.log10(envelope + 1e-6) + gain[:, None]).astype(np.float32)


def _norm_of_gaussian(sigma: float) -> float:
    """Square root of the sum of squares of the sampled Gaussian that `gaussian_filter1d` uses."""
    reach = int(3.0 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return float(np.sqrt(((weights / weights.sum()) ** 2).sum()))
