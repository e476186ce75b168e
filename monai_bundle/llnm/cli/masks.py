"""`llnm masks`: how close predicted masks come to drawn ones.

Comes in: a folder of predicted masks and one of drawn masks, paired by file name without suffix, and the size of their
pixels if it is known. Goes out: `masks.csv` (one row an image) and `masks.json` (means with 95 % intervals over cases,
and what was set aside and why).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llnm import NOTICE
from llnm.cli.common import console, prepare_folder, to_json
from llnm.errors import InputError
from llnm.files import whole_file, write_text

if TYPE_CHECKING:
    import pandas as pd

    from llnm.case import Mask, Spacing

IMAGE_COLUMN, SPACING_COLUMN, CASE_COLUMN = "image", "spacing_mm", "case"
_SHOWN = 10


@dataclass(frozen=True)
class Known:
    """What a table says of one image: its case, and its spacing if there is one."""

    case: str
    spacing_mm: float | None


def masks(
    predicted: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    truth: Annotated[Path, typer.Argument(help="Folder of drawn masks of the same names (suffixes may differ).")],
    out: Annotated[Path, typer.Option(help="Folder for masks.csv and masks.json.")],
    spacing: Annotated[float | None, typer.Option(help="Millimetres per pixel, the same for all images.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="CSV with a column `image` and, if known, `spacing_mm` and the case.")
    ] = None,
    case_column: Annotated[
        str | None, typer.Option(help="Column that says whose image it is; `case` if the table has one.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Tolerance of the surface Dice: mm, or pixels where no spacing is known.")
    ] = 1.0,
) -> None:
    """Measure predicted masks against drawn ones: Dice, IoU, Hausdorff 95, boundary error, surface Dice.

    The spacing is the one given, else the drawn mask's own (NRRD, NIfTI, MetaImage), else distances are in pixels. An
    image that cannot be measured is set aside by name; if the network found nothing, give it an empty mask.
    """
    from llnm.case import check_spacing

    prepare_folder(out)
    if spacing is not None:
        check_spacing(spacing, "--spacing")
    if not 0 <= tolerance < float("inf"):
        raise InputError(f"--tolerance: {tolerance:g} is no distance; give 0 or more")
    if case_column is not None and table is None:
        raise InputError("--case-column: is a column of --table; give the table too")
    if predicted.is_dir() and truth.is_dir() and predicted.samefile(truth):
        raise InputError(f"{predicted}: is given as predicted and as drawn; give two folders")
    found, drawn = _mask_files(predicted), _mask_files(truth)
    known = None if table is None else _read_known(table, case_column, spacing, {*found, *drawn})
    rows, excluded = _measure(found, drawn, known, spacing, tolerance)
    _show_excluded(excluded, len(found.keys() | drawn.keys()))
    if not rows:
        raise InputError(f"{predicted}, {truth}: no pair of masks can be measured; equal names make a pair")
    _write(rows, excluded, out, tolerance)


def _measure(
    found: Mapping[str, Path],
    drawn: Mapping[str, Path],
    known: Mapping[str, Known] | None,
    spacing: float | None,
    tolerance: float,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each image that can be measured, and for each other one the reason why not."""
    from llnm.evaluation.masks import mask_metrics

    rows, excluded = [], {}
    with console.status("Measuring ..."):
        for name in sorted({*found, *drawn}):
            try:
                about = Known(name, spacing) if known is None else known.get(name)
                if name not in drawn or name not in found:
                    raise InputError(f"has no {'drawn' if name in found else 'predicted'} mask")
                if about is None:
                    raise InputError("is not in the table, or its case is empty")
                truth = _read_mask(drawn[name], None)
                predicted = _read_mask(found[name], truth.shape)
                size = _spacing(drawn[name], about.spacing_mm or spacing)
            except InputError as error:
                excluded[name] = str(error)
                continue
            figures = mask_metrics(predicted, truth, size, tolerance_mm=tolerance, tolerance_px=tolerance)
            row, column = size or (None, None)
            place = {"image": name, "case": about.case, "row_spacing_mm": row, "column_spacing_mm": column}
            rows.append({**place, **figures})
    return rows, excluded


def _read_mask(path: Path, shape: tuple[int, ...] | None) -> Mask:
    """The mask, of the given shape or its own; an empty one is a mask too, that of a network that found nothing."""
    from llnm.imaging import load_mask
    from llnm.imaging.reading import read_header

    if shape is None:
        header = read_header(path)
        shape = (header.rows, header.columns)
    return load_mask(path, (shape[0], shape[1]), may_be_empty=True)


def _spacing(truth: Path, given: float | None) -> Spacing | None:
    """(row, column) in millimetres, as given or as the drawn mask's header says."""
    from llnm.imaging.reading import is_volume, read_stack

    if given is not None:
        return given, given
    return read_stack(truth)[1] if is_volume(truth) else None


def _mask_files(folder: Path) -> dict[str, Path]:
    """The folder's image files by stem; hidden files, folders and files of other kinds are passed over."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; give a folder of masks")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = _stem(path.name)
        if path.name.startswith(".") or stem == path.name or not path.is_file():
            continue
        if stem in files:
            raise InputError(f"{folder}: {files[stem].name} and {path.name} have the same name; keep one of them")
        files[stem] = path
    if not files:
        raise InputError(f"{folder}: holds no masks; give a folder of PNG, TIFF, NIfTI or NRRD files")
    return files


def _stem(name: str) -> str:
    """The name without the suffix of an image file; one without such a suffix stays as it is."""
    from llnm.imaging.reading import RASTER_SUFFIXES, VOLUME_SUFFIXES

    # DICOM is among them although masks in DICOM are not read, so that such a file is named and not passed over.
    suffixes = (*RASTER_SUFFIXES, *VOLUME_SUFFIXES, ".dcm", ".gif", ".webp")
    ending = max((suffix for suffix in suffixes if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(ending)]


def _read_known(path: Path, case_column: str | None, spacing: float | None, names: set[str]) -> dict[str, Known]:
    """What the table says of each of its images; those with an empty case are left out."""
    from llnm.case import check_spacing

    table = _read_table(path)
    case_column = case_column or (CASE_COLUMN if CASE_COLUMN in table else None)
    for column in (IMAGE_COLUMN, *([case_column] if case_column else [])):
        if column not in table:
            raise InputError(f"{path.name}: has no column {column!r}; its columns are {', '.join(table.columns)}")
    if spacing is not None and SPACING_COLUMN in table:
        raise InputError(f"--spacing: {path.name} has a column {SPACING_COLUMN} too; give one of them")
    known: dict[str, Known] = {}
    cells: Any
    for row, cells in enumerate(table.to_dict("records"), start=2):
        image, value = cells[IMAGE_COLUMN].strip(), cells.get(SPACING_COLUMN, "").strip()
        name = image if image in names else _stem(image)
        if name in known:
            raise InputError(f"{path.name}: row {row}, {IMAGE_COLUMN}: {image} stands there twice; keep one row")
        case = cells[case_column].strip() if case_column else name
        if case:
            size = check_spacing(value, f"{path.name}: row {row}, {SPACING_COLUMN}") if value else None
            known[name] = Known(case, size)
    return known


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna("")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as a table ({reason}); give a CSV file with a header") from error


def _show_excluded(excluded: Mapping[str, str], images: int) -> None:
    for name, reason in list(excluded.items())[:_SHOWN]:
        console.print(f"{name}: set aside: {reason}", markup=False, soft_wrap=True)
    if excluded:
        console.print(f"{len(excluded)} of {images} images are set aside.", markup=False)


def _write(rows: list[dict[str, Any]], excluded: Mapping[str, str], out: Path, tolerance: float) -> None:
    import pandas as pd

    from llnm.evaluation.masks import summarise_masks

    table = pd.DataFrame(rows)
    summary = summarise_masks(table)
    with whole_file(out / "masks.csv") as temporary:
        table.to_csv(temporary, index=False)
    record = {
        **_plain(summary),
        "tolerance": tolerance,
        "excluded": [{"image": name, "reason": reason} for name, reason in excluded.items()],
        "notice": NOTICE,
    }
    write_text(out / "masks.json", to_json(record))
    console.print(f"{summary['images']} images of {summary['cases']} cases. Mean (95 % interval):")
    for name, figures in summary.items():
        if isinstance(figures, dict):
            console.print(f"  {name}: {figures['mean']}, {figures['cases']} cases", markup=False)
    console.print(f"  share missed: {summary['share_missed']}. Files: {out}", markup=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    """Figures as JSON has them."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value.as_dict() if hasattr(value, "as_dict") else value
