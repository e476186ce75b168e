"""`llnm info`: what is installed, which weights run, and what they were trained on.

Comes in: nothing. Goes out: a table, or JSON.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from rich.table import Table

from llnm import NOTICE, __version__
from llnm.cli.common import console, to_json

# Package that shows whether an extra is installed.
EXTRAS = {
    "yolo": "ultralytics",
    "evaluation": "statsmodels",
    "atlas": "antspyx",
    "dicom": "python-gdcm",
    "report": "matplotlib",
    "server": "monailabel",
    "scale": "dask",
    "training": "pytorch-ignite",
}
CORE = ("torch", "monai", "transformers", "numpy", "pydicom", "SimpleITK")


def info(json_output: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Show versions, weights with their hash and training data, presets and extras."""
    values = collect()
    if json_output:
        typer.echo(to_json(values), nl=False)
        return
    table = Table("Weights", "Kind", "Trained on", "SHA-256", title=f"llnm {__version__}. {values['notice']}")
    for row in values["weights"]:
        trained = row["training_data"] + (" [simulated patients]" if row["trained_on_simulated_patients"] else "")
        table.add_row(row["name"], row["kind"], trained.replace("[", "\\["), row["file_sha256"][:12])
    console.print(table)
    extras = ", ".join(f"{name} {'yes' if here else 'no'}" for name, here in values["extras"].items())
    console.print("Presets: " + ", ".join(values["presets"]))
    console.print("Versions: " + ", ".join(f"{name} {number}" for name, number in values["software"].items()))
    console.print(f"Extras: {extras}")


def collect() -> dict[str, Any]:
    """Everything `llnm info` shows, as plain values; loads no network."""
    from llnm.weights import BUNDLES, weights_files, weights_record

    return {
        "version": __version__,
        "software": {"python": platform.python_version(), **{name: _version(name) or "missing" for name in CORE}},
        # The default of each network first.
        "weights": [
            weights_record(network, path=path).as_dict() for network in BUNDLES for path in weights_files(network)
        ],
        "presets": ["default", "paper", "released"],
        "extras": {extra: _version(package) is not None for extra, package in EXTRAS.items()},
        "notice": NOTICE,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
