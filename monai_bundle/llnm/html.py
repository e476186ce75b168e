"""Templates of the pages that are written: one way to load them, so that every word is escaped and none is missing.

Comes in: the package that holds a folder `templates`, and a file's name. Goes out: a jinja2 template.
"""

from __future__ import annotations

from functools import cache

import jinja2


@cache
def page_template(package: str, name: str) -> jinja2.Template:
    """The template `name` of `package`; it fails where a value is missing instead of leaving a gap."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
