"""Writes each MONAI bundle as a zip that runs in an empty folder: the bundle, the package `llnm`, pinned requirements.

Run `python monai_bundle/make_bundles.py [OUT]` (`make bundles`; OUT is `dist`). Comes in: this checkout and the
environment it was tested in. Goes out: `OUT/<bundle>_v<version>.zip`, the same bytes for the same content. Of a zip,
`requirements.txt` and `configs/metadata.json` name the versions that are installed here.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from llnm.files import whole_file
from llnm.weights import BUNDLES, NetworkName

HERE = Path(__file__).resolve().parent
DISTRIBUTION = "slicer-llnm"
# What a user of a bundle needs of the package's extras: training, evaluation and export.
EXTRAS = ("training", "bundle")
# The bundle of the risk draws masks that it is not given with the other two.
ALSO: dict[NetworkName, tuple[NetworkName, ...]] = {"nodule": (), "gland": ("nodule",), "llnm": ("nodule", "gland")}
NAMED_BY_MONAI = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
# Weights of kind `research` are no part of a shared bundle (`llnm.weights`).
LEFT_OUT = ("__pycache__", "eval", "cache", "tensorboard", "research")
OLDEST_TIME = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Write all three."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    for network in BUNDLES:
        print(write_bundle(network, out))


def write_bundle(network: NetworkName, out: Path) -> Path:
    """The zip of one bundle; its version is the metadata's."""
    name, pins = BUNDLES[network], pinned()
    metadata = json.loads((HERE / name / "configs" / "metadata.json").read_text(encoding="utf-8"))
    for package, key in NAMED_BY_MONAI.items():
        metadata[key] = pins[package]
    metadata["required_packages_version"] = {
        package: number for package, number in pins.items() if package not in NAMED_BY_MONAI
    }
    made = {
        "configs/metadata.json": json.dumps(metadata, indent=2) + "\n",
        "requirements.txt": "".join(f"{package}=={number}\n" for package, number in pins.items()),
    }
    path = out / f"{name}_v{metadata['version']}.zip"
    with whole_file(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, content in contents(network):
            _add(archive, f"{name}/{place}", made.pop(place, None) or content.read_bytes())
        for place, text in made.items():
            _add(archive, f"{name}/{place}", text)
    return path


def contents(network: NetworkName) -> Iterator[tuple[str, Path]]:
    """Place in the zip and file here: the bundle, the package, and the bundles it draws on."""
    yield from _files(HERE / BUNDLES[network], "")
    yield from _files(HERE / "llnm", "llnm/")
    for other in ALSO[network]:
        for part in ("configs", "models"):
            yield from _files(HERE / BUNDLES[other] / part, f"llnm/bundles/{BUNDLES[other]}/{part}/")


def _files(folder: Path, before: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not set(LEFT_OUT) & set(inside.parts):
            yield before + inside.as_posix(), path


def _add(archive: zipfile.ZipFile, place: str, content: str | bytes) -> None:
    about = zipfile.ZipInfo(place, OLDEST_TIME)
    about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(about, content)


def pinned() -> dict[str, str]:
    """Name and installed version of every package that the bundles need, by name."""
    own = list(_required(DISTRIBUTION, EXTRAS))
    # Extras of a requirement (monai[ignite]) are packages of their own.
    added = [within for needed in own for within in _required(needed.name, needed.extras, only_extras=True)]
    return {needed.name: version(needed.name).split("+")[0] for needed in sorted(own + added, key=str)}


def _required(distribution: str, extras: Iterable[str], only_extras: bool = False) -> Iterator[Requirement]:
    """What `distribution` requires with these extras, or for the extras alone."""
    for needed in map(Requirement, requires(distribution) or ()):
        always = needed.marker is None or needed.marker.evaluate({"extra": ""})
        asked = needed.marker is not None and any(needed.marker.evaluate({"extra": extra}) for extra in extras)
        if needed.name != DISTRIBUTION and ((asked and not always) or (always and not only_extras)):
            yield needed


if __name__ == "__main__":
    main()
