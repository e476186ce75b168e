"""How well and how fast glands reach the template, beside the affine map alone and beside ANTs with mutual information.

Run `python tests/benchmarks/bench_atlas.py [GLAND_MASKS]`: one JSON line. Times are processor seconds of one thread for
one registration at 128 x 128, which leave out waiting for a core; two processes are compared with one by the clock, so
the machine should be idle. GLAND_MASKS is a folder of further masks (PNG) of transverse views of unknown spacing.
Mattes mutual information is what the publication used and ANTs' default.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llnm.atlas import registration
from llnm.atlas.template import section, thyroid_template
from llnm.case import PLANES
from llnm.cohort.parallel import executor
from llnm.simulate.anatomy import Grid, sample_anatomy
from llnm.simulate.findings import sample_findings
from llnm.simulate.views import Window, sample_window

PATIENTS, PIXEL_MM, PHOTOGRAPHS = 15, 0.2, 20
Syn = Callable[..., tuple[Any, Any]]


def simulated_views() -> list[tuple[Any, ...]]:
    """Gland, section, spacing and nodule of both views of simulated patients."""
    template, views = thyroid_template(), []
    for seed in range(PATIENTS):
        rng = np.random.default_rng([99, seed])
        findings = sample_findings(rng)
        anatomy = sample_anatomy(findings, rng)
        for plane in PLANES:
            window = sample_window(anatomy, plane, rng)
            window = Window(window.start, window.width, window.depth, PIXEL_MM)
            grid = Grid.of(plane, anatomy.nodule.centre, window.rows(), window.columns())
            level = anatomy.nodule_level(grid)
            gland = np.broadcast_to(anatomy.gland_level(grid, level) < 0, window.shape)
            shown = section(template, plane, findings.side)
            views.append((gland, shown, (PIXEL_MM, PIXEL_MM), np.broadcast_to(level < 0, window.shape)))
    return views


def mattes(fixed: Any, moving: Any, seen: Any, step_mm: float) -> tuple[Any, Any]:
    """SyN as ANTs' Python function does it by default, in place of ours."""
    import tempfile

    ants = registration._ants()
    images = [ants.from_numpy(v.astype(np.float32), spacing=(step_mm, step_mm)) for v in (fixed, moving)]
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            *images, type_of_transform="SyNOnly", initial_transform="Identity", outprefix=f"{folder}/"
        )
        warps = [
            ants.image_read(next(n for n in found[way] if n.endswith("Warp.nii.gz"))).numpy()
            for way in ("fwdtransforms", "invtransforms")
        ]
    there, back = (np.moveaxis(warp, -1, 0) / step_mm for warp in warps)
    return there, back


def figures(views: list[tuple[Any, ...]], syn: bool = True) -> dict[str, float]:
    """Dice, folding, inverse consistency and time over the views."""
    registration.register(*views[0], syn=syn)
    found, times = [], []
    for view in views:
        start = time.process_time()
        found.append(registration.register(*view, syn=syn))
        times.append(time.process_time() - start)
    dice = [one.dice for one in found]
    return {
        "mean_dice": round(statistics.mean(dice), 4),
        "least_dice": round(min(dice), 4),
        "folded_views": sum(one.folding > 0 for one in found),
        "inverse_consistency_mm": round(statistics.mean(one.inverse_consistency_mm for one in found), 4),
        "processor_s": round(statistics.median(times), 3),
    }


def dice_of(view: tuple[Any, ...]) -> float:
    """What a process of several does with one view."""
    return registration.register(*view).dice


def processes_worth(views: list[tuple[Any, ...]]) -> float:
    """How many times as many views two processes register in the same time as one; their start is left out."""
    seconds = []
    for workers in (1, 2):
        with executor(dice_of, workers, None) as answers:
            list(answers([(view,) for view in views[: 2 * workers]]))
            start = time.perf_counter()
            list(answers([(view,) for view in views * 2]))
            seconds.append(time.perf_counter() - start)
    return seconds[0] / seconds[1]


def main() -> None:
    """Measure ours, the affine map alone, and SyN with mutual information on the same views."""
    registration.LEAST_DICE, registration.MOST_FOLDING = 0.0, 1.0
    views = simulated_views()
    result: dict[str, Any] = {"benchmark": "atlas registration", "views": len(views), "size": registration.SIZE}
    result["ours"] = figures(views)
    result["affine_only"] = figures(views, syn=False)
    own = registration._syn
    registration._syn = mattes
    result["syn_mattes"] = figures(views)
    registration._syn = own
    result["ours_per_second_and_core"] = round(1 / result["ours"]["processor_s"], 2)
    result["times_as_long_as_affine_only"] = round(
        result["ours"]["processor_s"] / result["affine_only"]["processor_s"], 1
    )
    result["mattes_times_as_long_as_ours"] = round(
        result["syn_mattes"]["processor_s"] / result["ours"]["processor_s"], 1
    )
    result["two_processes_times_one"] = round(processes_worth(views), 2)
    if len(sys.argv) > 1:
        template, dice = thyroid_template(), []
        for path in sorted(Path(sys.argv[1]).glob("*.png"))[:PHOTOGRAPHS]:
            mask = np.asarray(Image.open(path).convert("L")) > 127
            sides = [registration.register(mask, section(template, "transverse", side)) for side in ("left", "right")]
            dice.append(max(side.dice for side in sides))
        result["photographs"] = {"masks": len(dice), "mean_dice": round(statistics.mean(dice), 4)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
