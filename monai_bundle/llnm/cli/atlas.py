"""`llnm atlas`: build a 3D risk atlas of a cohort, ask it, look at it, compare it, take over the published one.

Comes in: a cohort table, an atlas folder or the published page. Goes out: an atlas folder, answers, a page.
"""

from __future__ import annotations

import typer

atlas = typer.Typer(name="atlas", help="The 3D risk atlas: build it, ask it, look at it.", no_args_is_help=True)
