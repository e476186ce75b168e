"""How many frames a second the segmentation bundles infer, beside a plain MONAI UNet++ of equal size in the same run.

Run `python tests/benchmarks/bench_bundles.py`: one JSON line. Each goes the whole way of `configs/inference.json`, from
file to PNG, with four passes. The alternative is `monai.networks.nets.BasicUNetPlusPlus` with random weights in place
of the bundle's network.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from monai.bundle import create_workflow
from monai.networks.nets import BasicUNetPlusPlus
from PIL import Image
from torch import nn

from llnm.segmentation.networks import build_network
from llnm.simulate import simulate_patient
from llnm.weights import bundle_folder

FRAMES = 10
# Widths at which UNet++ has about the 3.7 million parameters of the bundles' networks.
FEATURES = (40, 40, 80, 160, 320, 40)


class PlainUNetPlusPlus(nn.Module):
    """MONAI's network without deep supervision, its one answer unpacked."""

    def __init__(self) -> None:
        super().__init__()
        self.network = BasicUNetPlusPlus(2, in_channels=2, out_channels=1, features=FEATURES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(image)[0]
        return answer


def main() -> None:
    """Print frames a second, parameters, and the ratio of each bundle to the alternative."""
    torch.set_num_threads(2)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        frames = Path(name) / "frames"
        frames.mkdir()
        for seed in range(FRAMES):
            pixels = simulate_patient(seed).case.views["transverse"].image.pixels
            Image.fromarray((255 * pixels).astype(np.uint8)).save(frames / f"{seed:02d}.png")
        networks = {"nodule": build_network("nodule"), "gland": build_network("gland"), "plain": PlainUNetPlusPlus()}
        for label, network in networks.items():
            figures[f"{label}_parameters"] = sum(parameter.numel() for parameter in network.parameters())
            structure = "gland" if label == "gland" else "nodule"
            figures[f"{label}_frames_per_s"] = frames_per_second(
                structure, frames, Path(name) / label, label == "plain"
            )
    for label in ("nodule", "gland"):
        figures[f"{label}_to_plain"] = figures[f"{label}_frames_per_s"] / figures["plain_frames_per_s"]
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


def frames_per_second(structure: str, frames: Path, out: Path, plain: bool) -> float:
    """One run of the bundle's inference over a folder, without making and loading the network."""
    bundle = bundle_folder("gland" if structure == "gland" else "nodule")
    workflow = create_workflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(bundle),
        dataset_dir=str(frames),
        output_dir=str(out),
        **({"network_def": {"_target_": "__main__.PlainUNetPlusPlus"}, "handlers": []} if plain else {}),
    )
    start = time.perf_counter()
    workflow.run()
    return FRAMES / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
