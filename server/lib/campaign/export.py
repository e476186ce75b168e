"""The agreed set as a folder that `llnm train` reads: images, masks, and a table with patients and splits.

Comes in: a campaign. Goes out: `images/`, `nodule/` (or `gland/`), `cases.csv` (`image, case, split, fold, readers,
mean_dice, adjudicated, source`), `left_out.csv` and `README.txt`. Only pixels are written, as PNG: no file's header,
with what it may say of the patient, leaves the study.
"""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from lib.campaign.campaign import Campaign
from lib.campaign.errors import CampaignError
from lib.campaign.types import AgreedLabel

from llnm import NOTICE
from llnm.errors import InputError
from llnm.files import write_mask, write_png
from llnm.imaging import load_image

COLUMNS = ("image", "case", "split", "fold", "readers", "mean_dice", "adjudicated", "source")
# As `llnm train` has it by default.
FOLDS = 5
_EIGHT_BIT, _SIXTEEN_BIT = 255, 65535


def export_agreed(campaign: Campaign, out: Path) -> int:
    """Write the agreed set to the new folder `out`; how many images it has.

    `split` is `validation` for the patients that measured the campaign's models and `training` for the others; `fold`
    0-4 parts the patients as `llnm train --fold` does. An image on which nothing was drawn is left out: `llnm train`
    refuses it. Raises CampaignError for a folder that is there, or with nothing to write.
    """
    if out.exists():
        raise CampaignError(f"{out}: is there already; give a new folder")
    agreed = campaign.agreed()
    if not agreed:
        raise CampaignError("export: no mask is agreed on yet; annotate some images first")
    unfinished = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        written = _write(campaign, agreed, unfinished)
        unfinished.rename(out)
    except OSError as error:
        raise CampaignError(
            f"{out}: cannot be written ({error.strerror}); free space or choose another place"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def _write(campaign: Campaign, agreed: Sequence[AgreedLabel], out: Path) -> int:
    structure = campaign.settings.structure
    rows, left_out = [], []
    for label, stem in zip(agreed, _stems([label.image for label in agreed]), strict=True):
        try:
            mask = campaign.read_label(label.label, label.path)
            pixels = _pixels(label.path)
        except InputError as error:
            left_out.append((label.image, str(error)))
            continue
        if not mask.any():
            left_out.append((label.image, f"no {structure} was found on it"))
            continue
        write_png(out / "images" / f"{stem}.png", pixels)
        write_mask(out / structure / f"{stem}.png", mask)
        rows.append((stem, label))
    if not rows:
        raise CampaignError(f"export: none of the {len(agreed)} agreed images shows a {structure} that can be read")
    folds = _folds(rows, out)
    _table(out / "cases.csv", COLUMNS, [_row(stem, label, folds[label.patient]) for stem, label in rows])
    _table(out / "left_out.csv", ("image", "reason"), left_out)
    told = f"{len(rows)} images with masks of the {structure}; train with: llnm train {structure} --data {out.stem}\n"
    (out / "README.txt").write_text(f"{told}{NOTICE}\n", encoding="utf-8")
    return len(rows)


def _row(stem: str, label: AgreedLabel, fold: int) -> tuple[object, ...]:
    split = "validation" if label.validation else "training"
    dice = "" if label.dice is None else f"{label.dice:.4f}"
    return stem, label.patient, split, fold, len(label.readers), dice, int(label.adjudicated), label.image


def _folds(rows: Sequence[tuple[str, AgreedLabel]], out: Path) -> dict[str, int]:
    """The fold of each patient in which `llnm train --fold` holds it back, once the folder has its final name."""
    from llnm.training.data import Item, split_by_group  # MONAI and torch: too slow to start every server with

    items = [Item(Path(stem), Path(stem), out.stem, label.patient) for stem, label in rows]
    return {item.group: fold for fold in range(FOLDS) for item in split_by_group(items, fold, FOLDS)[1]}


def _pixels(path: Path) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """A frame as its file stores it: 8 bit where that loses no grey level, else 16 bit; colour where it has some."""
    image = load_image(path)
    if image.colour is not None:
        return image.colour
    scaled = image.pixels * _EIGHT_BIT
    eight = np.round(scaled)
    if np.allclose(scaled, eight, atol=1e-3):
        return eight.astype(np.uint8)
    return np.round(image.pixels * _SIXTEEN_BIT).astype(np.uint16)


def _stems(images: Sequence[str]) -> list[str]:
    """A file stem for each image's id, no two alike on any file system."""
    stems: list[str] = []
    used: set[str] = set()
    for image in images:
        plain = re.sub(r"[^A-Za-z0-9-]+", "_", str(PurePosixPath(image).with_suffix(""))).strip("_") or "image"
        names = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        stem = next(name for name in names if name.lower() not in used)
        used.add(stem.lower())
        stems.append(stem)
    return stems


def _table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
