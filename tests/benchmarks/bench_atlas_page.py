"""Frames a second of the atlas's page while it turns, and its size.

Run `python tests/benchmarks/bench_atlas_page.py`: one JSON line. The page of a simulated atlas (800 places, planted
risk) is turned in headless Chromium with software rendering at 1200 x 800, frames counted by requestAnimationFrame.
`still` is the same page without turning: what this machine, with its load, gives at most.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from llnm.atlas.page import write_page
from llnm.atlas.planted import planted_places
from llnm.atlas.risk import risk_atlas
from llnm.atlas.template import thyroid_template

SECONDS = 4
COUNT = """(seconds) => new Promise((done) => {
  let frames = 0;
  const start = performance.now();
  const next = () => {
    frames += 1;
    const passed = performance.now() - start;
    if (passed < 1000 * seconds) requestAnimationFrame(next);
    else done(1000 * frames / passed);
  };
  requestAnimationFrame(next);
})"""


def main() -> None:
    """Print frames a second at rest, turning, and turning with a threshold and the slices shown."""
    template = thyroid_template()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        path = Path(name) / "atlas.html"
        write_page(risk_atlas(template, *planted_places(template, 800, seed=1), "beta"), path)
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(path.as_uri())
        page.wait_for_timeout(1000)
        figures = {"megabytes": path.stat().st_size / 1e6, "still": frames(page)}
        page.click("#turn")
        figures["turning"] = frames(page)
        page.fill("#threshold", "0.6")
        figures["turning_with_threshold"] = frames(page)
        page.check("#planes")
        figures["turning_with_threshold_and_slices"] = frames(page)
        browser.close()
    rounded = {label: round(figure, 2) for label, figure in figures.items()}
    print(json.dumps({**rounded, "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}))


def frames(page: Page) -> float:
    """Frames a second over some seconds."""
    return float(page.evaluate(COUNT, SECONDS))


if __name__ == "__main__":
    main()
