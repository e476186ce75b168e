"""What a program hears that starts `llnm` with `--progress json`: one JSON object a line on standard output.

Comes in: the steps of a command, its result or its error. Goes out::

    {"event": "start", "protocol": 1, "version": "0.3.0"}
    {"event": "progress", "step": "transverse", "share": 0.2, "message": "Outlining and measuring the transverse view"}
    {"event": "result", "path": "/tmp/result/result.json"}
    {"event": "error", "kind": "InputError", "message": "age: 0 is no age", "remedy": "give years"}

`share` is the part of the whole that is done before the step, 0-1. Everything else that would be printed to standard
output, by whatever library, goes to standard error then, so that every line is one object.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from llnm import __version__
from llnm.cli.common import console
from llnm.errors import InputError

PROTOCOL = 1
_stream: TextIO | None = None


def talk(form: str | None) -> None:
    """Begin to tell, if `form` is `json`; None stays silent. Raises InputError for any other form."""
    global _stream  # noqa: PLW0603 - there is one standard output
    if form is None:
        return
    if form != "json":
        raise InputError(f"progress: {form!r} is not known; write json, or leave it out")
    sys.stdout.flush()
    _stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    console.stderr = True
    _tell("start", protocol=PROTOCOL, version=__version__)


def is_talking() -> bool:
    """Whether a program listens, to which a summary for people says nothing new."""
    return _stream is not None


def steps(names: Mapping[str, str]) -> Callable[[str], None]:
    """A function to call as each step begins; `names`: the steps in their order with a sentence each."""
    order = list(names)

    def begin(step: str) -> None:
        if step in names:
            _tell("progress", step=step, share=round(order.index(step) / len(order), 4), message=names[step])

    return begin


def tell_share(step: str, done: int, whole: int, message: str) -> None:
    """Tell that `done` of `whole` equal parts are done."""
    _tell("progress", step=step, share=round(done / max(whole, 1), 4), message=message)


def tell_result(path: os.PathLike[str]) -> None:
    """Tell where the result lies; the last line of a command that ends well."""
    _tell("result", path=str(Path(path).absolute()))


def tell_error(kind: str, message: str) -> None:
    """Tell why a command ends; our messages end with "; " and what to do next."""
    text = " ".join(message.split())
    head, _, remedy = text.rpartition("; ")
    _tell("error", kind=kind, message=head or text, remedy=remedy if head else "")


def _tell(event: str, **values: Any) -> None:
    if _stream is not None:
        print(json.dumps({"event": event, **values}, ensure_ascii=False), file=_stream, flush=True)
