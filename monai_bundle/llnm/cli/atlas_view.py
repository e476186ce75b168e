"""`llnm atlas import-page`: the published risk page as an atlas.

Comes in: the published page. Goes out: an atlas folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llnm import NOTICE
from llnm.cli.atlas import atlas
from llnm.cli.common import console, prepare_folder
from llnm.files import write_text


@atlas.command("import-page")
def import_page(
    page: Annotated[Path, typer.Argument(help="The published page (risk_page.html).")],
    out: Annotated[Path, typer.Option(help="Folder for the atlas and points.csv.")],
    template: Annotated[
        Path | None, typer.Option(help="Segmentation of both lobes (NIfTI or NRRD) instead of the built-in thyroid.")
    ] = None,
) -> None:
    """Turn the paper's published risk page into an atlas: relative risk by the colours' hue, on the gland's surface."""
    from llnm.atlas.published import import_page, points_table
    from llnm.atlas.template import read_template, thyroid_template

    prepare_folder(out)
    found, points = import_page(page, thyroid_template() if template is None else read_template(template))
    write_text(out / "points.csv", points_table(points))
    found.save(out)
    distance = found.about["colour_distance"]
    console.print(
        f"{out}: {len(points.value):,} points, relative risk {points.value.min():.2f} to {points.value.max():.2f}. "
        f"Distance of the colours from YlOrRd: median {distance['median']:.3f}, 95 % below {distance['95 %']:.3f} "
        f"(each point's in points.csv). {NOTICE}",
        markup=False,
        soft_wrap=True,
    )
