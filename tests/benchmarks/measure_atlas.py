"""How well an atlas recovers a planted risk: correlation, coverage of the intervals, ranking, and false alarms.

Run `python tests/benchmarks/measure_atlas.py` (some minutes): one JSON line. Cohorts are placed in the template
directly (`llnm.atlas.planted`), with the error that registration was measured to have; figures are means over cohorts.
"""

from __future__ import annotations

import json

import numpy as np

from llnm.atlas.planted import PlantedRisk, planted_places
from llnm.atlas.risk import region_risks, risk_atlas
from llnm.atlas.template import thyroid_template

COHORTS = {200: 20, 1000: 10, 4000: 5}
NULL_COHORTS, NULL_PATIENTS = 200, 300
SHARP = PlantedRisk(
    {"left lobe, upper third, lateral": 4.0, "right lobe, lower third, medial": 4.0}, background=0.3, width_mm=4.5
)


def recovery(patients: int, cohorts: int) -> dict[str, float]:
    """Figures of cohorts of one size: seeds 0, 1, ... for the smooth risk and 1000, 1001, ... for the sharp one."""
    template = thyroid_template()
    true = PlantedRisk().volume(template)
    found, first = [], 0
    for seed in range(cohorts):
        places, labels = planted_places(template, patients, seed)
        atlas, means = risk_atlas(template, places, labels), risk_atlas(template, places, labels, "class means")
        known = np.isfinite(atlas.risk)
        covered = ((atlas.low <= true) & (true <= atlas.high))[known].mean()
        correlations = [
            np.corrcoef(one.risk[np.isfinite(one.risk)], true[np.isfinite(one.risk)])[0, 1] for one in (atlas, means)
        ]
        found.append([*correlations, covered, 1 - known[template.labels > 0].mean()])
        ranked = region_risks(template, *planted_places(template, patients, 1000 + seed, SHARP))
        first += {region.name for region in ranked[:2]} == set(SHARP.hot)
    names = ("correlation_beta", "correlation_class_means", "coverage", "blank_share")
    figures = {name: round(float(value), 3) for name, value in zip(names, np.mean(found, axis=0), strict=True)}
    return {**figures, "cohorts": cohorts, "two_planted_regions_first": first}


def main() -> None:
    """Measure recovery at each size, and how many cohorts without any effect have a hot region."""
    template = thyroid_template()
    alarms = sum(
        any(r.hot for r in region_risks(template, *planted_places(template, NULL_PATIENTS, 5000 + s, PlantedRisk({}))))
        for s in range(NULL_COHORTS)
    )
    result = {str(patients): recovery(patients, cohorts) for patients, cohorts in COHORTS.items()}
    print(json.dumps({"measure": "atlas", **result, "null_cohorts": NULL_COHORTS, "with_a_hot_region": alarms}))


if __name__ == "__main__":
    main()
