"""The campaign's page: one file with its scripts and styles, which asks the server for the status by itself.

Comes in: nothing; the page holds no data of the campaign. Goes out: HTML text.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2
from lib.configs import ABOUT

from llnm import __version__


@cache
def render_page() -> str:
    """The page; its content policy lets it talk to the server it came from and to nobody else."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("campaign.html").render(about=ABOUT, version=__version__)
