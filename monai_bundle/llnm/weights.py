"""Where the shipped weights lie, what they were trained on and what they hash to.

Comes in: the name of a network. Goes out: its files and a record for the provenance of every result. The weights live
in the MONAI bundles: beside the package in a checkout, inside it (`llnm/bundles`) once installed.
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
BUNDLES: dict[NetworkName, str] = {
    "nodule": "thyroid_nodule_segmentation",
    "gland": "thyroid_gland_segmentation",
    "llnm": "thyroid_llnm_prediction",
}
REPORT_ENCODER = "report_encoder"


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
    candidates = [root] if root is not None else [package / "bundles", package.parent]
    for candidate in candidates:
        folder = candidate / BUNDLES[network]
        if folder.is_dir():
            return folder
    if root is not None:
        raise InputError(f"{root}: holds no folder {BUNDLES[network]}; give the folder that holds the three bundles")
    raise LLNMError(f"the bundle {BUNDLES[network]} is missing from this installation; install slicer-llnm again")


def weights_file(network: NetworkName, root: Path | None = None) -> Path:
    """The state dict of `network`; raises InputError if the bundle has none."""
    path = bundle_folder(network, root) / "models" / "model.pt"
    if not path.is_file():
        raise InputError(f"{path}: no weights there; train them with: llnm train {network}")
    return path


def report_encoder_folder(root: Path | None = None) -> Path:
    """Folder of the BERT that turns reports into word vectors; it ships with the LLNM bundle."""
    return bundle_folder("llnm", root) / "models" / REPORT_ENCODER


def metadata(network: NetworkName, root: Path | None = None) -> Mapping[str, Any]:
    """The bundle's `configs/metadata.json`."""
    path = bundle_folder(network, root) / "configs" / "metadata.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); restore the bundle") from error


def weights_record(network: NetworkName, root: Path | None = None) -> WeightsRecord:
    """Name, kind, hash and training data of the weights that `network` runs with."""
    about = metadata(network, root)
    weights = about["weights"]
    return WeightsRecord(
        name=f"{BUNDLES[network]} {about['version']}",
        kind=weights["kind"],
        file_sha256=file_sha256(weights_file(network, root)),
        training_data=weights["training_data"],
        trained_on_simulated_patients=weights["trained_on_simulated_patients"],
    )


@lru_cache(maxsize=16)
def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
