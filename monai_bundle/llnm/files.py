"""Files that are written whole or not at all, also where the disk is full or the user interrupts.

Comes in: what a file is to hold. Goes out: that file, or the one that was there before, and no half of either; and
names under which what belongs to different images can be told apart.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from llnm.errors import InputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` when the block ends well, and is removed else.

    Makes the folder if it is new. Raises InputError if the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: cannot be written ({reason}); free space or choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8; raises InputError if the file cannot be written."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_png(path: Path, pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """Write (row, column) grey or (row, column, 3) RGB pixels; raises InputError if the file cannot be written."""
    from PIL import Image

    with whole_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")


def write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """Write a (row, column) bool mask as 8-bit PNG, 0 outside and 255 inside; raises InputError as `write_png`."""
    write_png(path, np.where(mask, 255, 0).astype(np.uint8))


def check_not_overwritten(image: Path, target: Path, option: str = "--out") -> None:
    """Raises InputError where what is to be written would take the place of what is read."""
    if os.path.realpath(image) == os.path.realpath(target):
        raise InputError(f"{image}: its masks would be written over it; choose another {option}")


def unique_names(images: Sequence[Path]) -> list[str]:
    """A name for what is written: the image's stem or the folder's name, with a number where names are equal.

    Raises InputError where even that does not tell them apart.
    """
    stems = [_stem(path) for path in images]
    count = Counter(stems)
    seen: Counter[str] = Counter()
    names = []
    for name in stems:
        seen[name] += 1
        names.append(name if count[name] == 1 else f"{name}_{seen[name]}")
    if len(set(names)) < len(names):
        raise InputError("images: some names cannot be told apart; rename the files so that their stems differ")
    return names


def _stem(path: Path) -> str:
    """The name of a file without its suffix, or of a folder, also where it is given as `.` or `..`."""
    if not path.is_dir():
        return path.stem
    return path.name if path.name not in {"", ".."} else path.resolve().name
