"""What an atlas is, and how it lies on disk.

Comes in: volumes on the grid of a template. Goes out: a folder with `atlas.json`, `risk.nii.gz`, `low.nii.gz`,
`high.nii.gz`, `count.nii.gz`, `labels.nii.gz` that any imaging tool opens, and back. `template.vtp` is written beside
them by `atlas.mesh`.

Volumes are indexed (i, j, k) by the template's `affine` to RAS millimetres: x to the patient's left is negative, y
towards the back is negative, z towards the head is positive; 0 is the middle of the isthmus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK

from llnm import NOTICE
from llnm.errors import InputError
from llnm.files import whole_file, write_text

Volume = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]
ABOUT = "atlas.json"
SCHEMA_VERSION = "1.0"
# Written by `atlas.build`, read by `atlas.page`.
REGIONS_TABLE = "regions.csv"
# NIfTI readers turn "not a number" into 0, which would read as "no risk"; in the files a blank voxel holds this.
BLANK = np.float32(-1.0)
# RAS to the LPS of SimpleITK.
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Template:
    """A thyroid on a grid: `labels` (i, j, k), 0 outside and else a key of `regions`; `affine` (4, 4) to RAS mm.

    `regions`: name of each label, in words ("left lobe, upper third, medial"). `source`: where its shape comes from.
    """

    labels: Labels
    affine: npt.NDArray[np.float64]
    regions: Mapping[int, str]
    source: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    def position(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """RAS millimetres (..., 3) of voxel indices (..., 3)."""
        return np.asarray(index, float) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, position: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Voxel indices (..., 3), not rounded, of RAS millimetres (..., 3)."""
        return (np.asarray(position, float) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T


@dataclass(frozen=True)
class Atlas:
    """Risk at each voxel of a template.

    `risk`, `low`, `high`: (i, j, k) float32, NaN where there is no evidence; the interval is 95 %, NaN throughout where
    the method has none. `count`: patients behind each voxel (weights, so not whole). `method`: `beta` (probability with
    its interval, 0-1), `class means`, `sum` (equation 15) or `published`; the last three are scaled to 0-1 and are no
    probability. `about`: cohort, patients, failures, settings, as plain values for JSON.
    """

    template: Template
    risk: Volume
    low: Volume
    high: Volume
    count: Volume
    method: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_probability(self) -> bool:
        """Whether `risk` is a probability of metastasis."""
        return self.method == "beta"

    def save(self, folder: Path) -> None:
        """Write the folder, each file whole or not at all; `atlas.json` last, so that a folder with it is complete."""
        volumes = {name: getattr(self, name) for name in ("risk", "low", "high", "count")}
        blank = {name: np.where(np.isnan(values), BLANK, values) for name, values in volumes.items()}
        for name, values in {**blank, "labels": self.template.labels}.items():
            write_volume(folder / f"{name}.nii.gz", values, self.template.affine)
        about = {
            "schema_version": SCHEMA_VERSION,
            "notice": NOTICE,
            "method": self.method,
            "blank": float(BLANK),
            "template": self.template.source,
            "regions": {str(label): name for label, name in self.template.regions.items()},
            "about": dict(self.about),
        }
        write_text(folder / ABOUT, json.dumps(about, indent=2))

    @classmethod
    def load(cls, folder: Path) -> Atlas:
        """The atlas of a folder; raises InputError that names the file where something is missing or does not fit."""
        try:
            stored = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            regions = {int(label): str(name) for label, name in stored["regions"].items()}
            method, source, about = stored["method"], stored["template"], stored["about"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{folder / ABOUT}: is no atlas ({error!r}); make one with: llnm atlas build") from error
        labels, affine = read_volume(folder / "labels.nii.gz")
        volumes = {}
        for name in ("risk", "low", "high", "count"):
            volumes[name], other = read_volume(folder / f"{name}.nii.gz")
            if volumes[name].shape != labels.shape or not np.allclose(other, affine, atol=1e-3):
                raise InputError(
                    f"{folder / name}.nii.gz: its grid is not that of labels.nii.gz; build the atlas again"
                )
            volumes[name] = np.where(volumes[name] == BLANK, np.float32(np.nan), volumes[name])
        template = Template(labels.astype(np.uint8), affine, regions, source)
        return cls(template, **volumes, method=method, about=about)


def write_volume(path: Path, values: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> None:
    """Write a volume (i, j, k) with its affine to RAS mm; NIfTI or NRRD by the suffix, whole or not at all."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values.T))
    lps = _LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    with whole_file(path) as temporary:
        # SimpleITK chooses the format by the suffix, which the temporary name hides.
        named = temporary.with_name(f"{temporary.stem}.writing{''.join(path.suffixes[-2:])}")
        try:
            SimpleITK.WriteImage(image, str(named), useCompression=True)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def read_volume(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Values (i, j, k) and the affine to RAS mm; raises InputError if the file is no 3D volume."""
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as a volume; give NIfTI or NRRD") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path}: is no volume of three dimensions and one channel; give another file")
    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).T, _LPS @ lps
