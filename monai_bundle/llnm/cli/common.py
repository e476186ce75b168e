"""What the commands share: reading a user's files into a `Case`, and turning failures into one line and an exit code.

Comes in: paths and strings as typed. Goes out: checked values, or an error that names the option and the remedy.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from llnm.errors import InputError

if TYPE_CHECKING:
    from llnm.case import Plane, Structure, View

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
LONGEST_REPORT = 100_000


def read_view(plane: Plane, image: Path, masks: dict[Structure, Path | None], spacing_mm: float | None = None) -> View:
    """A view from its image file and the mask files that were given."""
    from llnm.case import View
    from llnm.imaging import load_image, load_mask

    frame = load_image(image, spacing_mm=spacing_mm)
    given = {structure: load_mask(path, frame.shape) for structure, path in masks.items() if path is not None}
    return View(plane, frame, given)


def read_report(file: Path | None, text: str | None) -> str | None:
    """The report's text from a UTF-8 file or as typed; None if there is none or it is blank.

    Raises InputError if both are given, or the file is missing, no UTF-8 text or far too long.
    """
    if file is not None and text is not None:
        raise InputError("report: both --report and --report-text are given; give one of them")
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{file.name}: is no UTF-8 text; save the report as UTF-8") from error
        except OSError as error:
            raise InputError(f"{file.name}: cannot be read ({error.strerror}); check the path") from error
    if text is None or not text.strip():
        return None
    if len(text) > LONGEST_REPORT:
        raise InputError(f"report: {len(text)} characters are no report; give the report of this examination alone")
    return text


def read_point(text: str | None, option: str) -> tuple[float, float] | None:
    """`X,Y` as numbers; raises InputError for anything else."""
    if text is None:
        return None
    x, y = read_numbers(text, option, "X,Y")
    return x, y


def read_numbers(text: str, option: str, form: str) -> list[float]:
    """Numbers separated by commas, as many as `form` has; raises InputError otherwise."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(form.split(",")):
        raise InputError(f"{option}: {text!r} is not of the form {form}; give numbers separated by commas")
    return numbers


def prepare_folder(out: Path, option: str = "--out") -> Path:
    """`out`, sure to be a folder that can be written to; raises InputError before any work is done if it is not."""
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not parent.is_dir():
        raise InputError(f"{out}: cannot be a folder, since {parent.name} is a file; choose another {option}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise InputError(f"{out}: cannot be written to; choose another {option} or change its permissions")
    return out


def to_json(values: Any) -> str:
    """Indented, sorted JSON that ends in a line feed."""
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
