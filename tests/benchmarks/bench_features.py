"""How long the features of one 800 x 600 view take, beside the plain ways to compute two of them.

Run `python tests/benchmarks/bench_features.py`: one JSON line with medians in milliseconds on this machine. The
alternatives are CPDT by all pairs of gland and capsule pixels, and the mosaic by a loop over its patches; both give the
same images, which is checked before anything is timed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from llnm.case import GreyImage, Mask
from llnm.features import central_point_distance_transform, margin_mosaic, measure, network_images

SHAPE = (600, 800)  # rows, columns
SPACING_MM = (0.07, 0.07)
BUDGET_MS = 100  # for measure and network_images together, on one core


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> Mask:
    """A disc of pixels, stretched; centre and radii as (row, column)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def brute_force_cpdt(gland: Mask) -> GreyImage:
    """Equations 1-3 from the distances of all pairs of a gland pixel and a capsule pixel."""
    capsule = np.argwhere(gland & ~ndimage.binary_erosion(gland))
    pixels = np.argwhere(gland)
    distance = np.concatenate([cdist(part, capsule).min(axis=1) for part in np.array_split(pixels, 200)])
    phi = np.ones(gland.shape, dtype=np.float32)
    phi[gland] = 1 - distance / distance.max()
    return phi


def looped_mosaic(bmode: GreyImage, nodule: Mask, seed: int) -> GreyImage:
    """The mosaic cut and laid patch by patch."""
    pixels = np.argwhere(nodule & ~ndimage.binary_erosion(nodule, border_value=1))
    drawn = np.random.default_rng(seed).choice(len(pixels), 196, replace=len(pixels) < 196)
    padded = np.pad(bmode, 8, mode="reflect")
    mosaic = np.empty((224, 224), dtype=np.float32)
    for place, (row, column) in enumerate(pixels[drawn]):
        top, left = 16 * (place // 14), 16 * (place % 14)
        mosaic[top : top + 16, left : left + 16] = padded[row : row + 16, column : column + 16]
    return mosaic


def median_ms(call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of `call` after one call that does not count; `time.process_time` leaves out waiting for a core."""
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(1000 * (clock() - start))
    return statistics.median(times)


def main() -> None:
    """Time one view with a gland of 42 x 28 mm and a nodule that fits the network's picture, and one that does not."""
    bmode = np.random.default_rng(0).uniform(0.1, 0.9, SHAPE).astype(np.float32)
    gland = ellipse((300, 400), (200, 300))
    nodule, large = ellipse((260, 440), (70, 90)), ellipse((300, 400), (170, 250))
    assert np.abs(brute_force_cpdt(gland) - central_point_distance_transform(gland)).max() < 1e-6
    assert (looped_mosaic(bmode, nodule, 0) == margin_mosaic(bmode, nodule, 0)).all()

    def view(mask: Mask) -> None:
        measure(bmode, mask, gland, SPACING_MM)
        network_images(bmode, mask, gland, SPACING_MM)

    measured = {
        "view_ms": median_ms(lambda: view(nodule), 21),
        "view_processor_ms": median_ms(lambda: view(nodule), 21, time.process_time),
        "view_large_nodule_ms": median_ms(lambda: view(large), 21),
        "view_large_nodule_processor_ms": median_ms(lambda: view(large), 21, time.process_time),
        "measure_ms": median_ms(lambda: measure(bmode, nodule, gland, SPACING_MM), 21),
        "network_images_ms": median_ms(lambda: network_images(bmode, nodule, gland, SPACING_MM), 21),
        "cpdt_ms": median_ms(lambda: central_point_distance_transform(gland), 21),
        "cpdt_brute_force_ms": median_ms(lambda: brute_force_cpdt(gland), 3),
        "mosaic_ms": median_ms(lambda: margin_mosaic(bmode, nodule, 0), 51),
        "mosaic_loop_ms": median_ms(lambda: looped_mosaic(bmode, nodule, 0), 51),
    }
    result = {
        "benchmark": "features",
        "image": list(SHAPE),
        "budget_ms": BUDGET_MS,
        **{name: round(value, 2) for name, value in measured.items()},
        "cpdt_times_faster_than_brute_force": round(measured["cpdt_brute_force_ms"] / measured["cpdt_ms"], 1),
        "mosaic_times_faster_than_loop": round(measured["mosaic_loop_ms"] / measured["mosaic_ms"], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
