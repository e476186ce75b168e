"""Where the shipped weights lie, what they were trained on and what they hash to.

Comes in: the name of a network. Goes out: its files and a record for the provenance of every result. The weights live
in the MONAI bundles: beside the package in a checkout, inside it (`llnm/bundles`) once installed; the zip of a bundle
holds the package in the bundle's own folder, whose name must stay.

Two kinds: `models/model.pt` of a bundle is `open`, trained only on data whose terms allow it. Where weights trained on
data without a stated licence measured clearly better on scanners that neither had seen, they lie in `models/research/`
with a `weights.json` of their own, and are the application's default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llnm.errors import InputError, LLNMError

if TYPE_CHECKING:
    import torch

NetworkName = Literal["nodule", "gland", "llnm"]
WeightsKind = Literal["open", "research"]
BUNDLES: dict[NetworkName, str] = {
    "nodule": "thyroid_nodule_segmentation",
    "gland": "thyroid_gland_segmentation",
    "llnm": "thyroid_llnm_prediction",
}
REPORT_ENCODER = "report_encoder"
RESEARCH = "research"
WEIGHTS_RECORD = "weights.json"
CALIBRATION = "calibration.json"


@dataclass(frozen=True)
class WeightsRecord:
    """What a result must say of the weights behind it (the fields of `provenance.weights` in `result.json`)."""

    name: str
    kind: str
    file_sha256: str
    training_data: str
    trained_on_simulated_patients: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def bundle_folder(network: NetworkName, root: Path | None = None) -> Path:
    """Folder of the bundle of `network`: under `root` if given, else the shipped one."""
    package = Path(__file__).resolve().parent
    # Inside the installed package, beside it in a checkout, or around it in a bundle's zip.
    candidates = [root] if root is not None else [package / "bundles", package.parent, package.parent.parent]
    for candidate in candidates:
        folder = candidate / BUNDLES[network]
        if folder.is_dir():
            return folder
    if root is not None:
        raise InputError(f"{root}: holds no folder {BUNDLES[network]}; give the folder that holds the three bundles")
    raise LLNMError(f"the bundle {BUNDLES[network]} is missing from this installation; install slicer-llnm again")


def weights_file(network: NetworkName, root: Path | None = None, kind: WeightsKind | None = None) -> Path:
    """The state dict of `network`: of `kind`, or else the application's default.

    Raises InputError if the bundle has none.
    """
    models = bundle_folder(network, root) / "models"
    research, plain = models / RESEARCH / "model.pt", models / "model.pt"
    path = research if kind == RESEARCH or (kind is None and research.is_file()) else plain
    if not path.is_file():
        raise InputError(f"{path}: no weights there; train them with: llnm train {network}")
    return path


def weights_files(network: NetworkName, root: Path | None = None) -> tuple[Path, ...]:
    """All state dicts of `network`, the application's default first."""
    default, plain = weights_file(network, root), weights_file(network, root, "open")
    return (default,) if default == plain else (default, plain)


def report_encoder_folder(root: Path | None = None) -> Path:
    """Folder of the BERT that turns reports into word vectors; it ships with the LLNM bundle."""
    return bundle_folder("llnm", root) / "models" / REPORT_ENCODER


def metadata(network: NetworkName, root: Path | None = None) -> Mapping[str, Any]:
    """The bundle's `configs/metadata.json`."""
    return _read_json(bundle_folder(network, root) / "configs" / "metadata.json")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); restore the bundle") from error


def weights_record(network: NetworkName, root: Path | None = None, path: Path | None = None) -> WeightsRecord:
    """Name, kind, hash and training data of the weights in `path`, or of those that `network` runs with."""
    about = metadata(network, root)
    path = path or weights_file(network, root)
    name, weights = f"{BUNDLES[network]} {about['version']}", about["weights"]
    if path.parent.name == RESEARCH:
        name, weights = f"{name} {RESEARCH}", _read_json(path.parent / WEIGHTS_RECORD)
    return WeightsRecord(
        name=name,
        kind=weights["kind"],
        file_sha256=file_sha256(path),
        training_data=weights["training_data"],
        trained_on_simulated_patients=weights["trained_on_simulated_patients"],
    )


@lru_cache(maxsize=16)
def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """State dict of `path` in single precision; the file may hold half precision and never holds code.

    Raises InputError if the file is no state dict.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    except Exception as error:
        # torch raises a different type for each way a file can be wrong.
        raise InputError(f"{path}: is no file of weights ({type(error).__name__}); train or restore it") from error
