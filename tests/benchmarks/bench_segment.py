"""How long a view and a cine loop take to segment with the shipped weights, beside a plain MONAI UNet++ and YOLOv8-seg.

Run `python tests/benchmarks/bench_segment.py`: one JSON line. The alternatives see the same canvas in the same run:
`monai.networks.nets.BasicUNetPlusPlus` with random weights, four passes as our test-time augmentation makes them, and
YOLOv8n-seg with scene relations (extra `yolo`), one pass. Memory is the process's at the 10th and the last frame.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from bench_predict import median_seconds
from monai.networks.nets import BasicUNetPlusPlus
from PIL import Image

from llnm.cli.segment_cine import segment_loop
from llnm.imaging import prepare
from llnm.imaging.cine import open_cine
from llnm.segmentation import segment
from llnm.segmentation.cine import segment_cine
from llnm.segmentation.networks import CANVAS, build_network
from llnm.segmentation.yolo import add_scene_relations, import_ultralytics
from llnm.simulate import simulate_patient

FRAMES = 100
SIZE = (896, 688)  # columns, rows of a usual cine frame


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(2)
    image = simulate_patient(7).case.views["transverse"].image
    figures = {"view_s": median_seconds(lambda: [segment(prepare(image), part) for part in ("nodule", "gland")])}
    batch = torch.rand(4, 2, *CANVAS).contiguous(memory_format=torch.channels_last)
    import_ultralytics()
    from ultralytics.nn.tasks import SegmentationModel

    yolo = SegmentationModel("yolov8n-seg.yaml", nc=1, verbose=False)
    add_scene_relations(yolo)
    networks = {
        "nodule": (build_network("nodule"), batch),
        "gland": (build_network("gland"), batch),
        "monai_unet_plus_plus": (BasicUNetPlusPlus(2, in_channels=2, out_channels=1), batch),
        "yolo": (yolo, torch.rand(1, 3, 256, 256)),
    }
    for name, (network, inputs) in networks.items():
        network.eval().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            figures[f"{name}_s"] = median_seconds(lambda net=network, x=inputs: net(x))
        figures[f"{name}_parameters"] = sum(p.numel() for p in network.parameters())
    for name in ("nodule", "gland"):
        figures[f"{name}_to_monai_unet_plus_plus"] = figures[f"{name}_s"] / figures["monai_unet_plus_plus_s"]
    figures |= cine_figures(image.pixels)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


def cine_figures(pixels: np.ndarray) -> dict[str, float]:
    """A folder of frames in which the probe is moved sideways, by the command's own function."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "loop"
        folder.mkdir()
        for index in range(FRAMES):
            frame = Image.fromarray((255 * np.roll(pixels, index // 4, axis=1)).astype(np.uint8)).resize(SIZE)
            frame.save(folder / f"{index:03d}.png")
        start = time.perf_counter()
        segment_loop(open_cine(folder), "loop", Path(name) / "out", "nodule")
        seconds = time.perf_counter() - start
        process, memory = psutil.Process(), []
        for _ in itertools.islice(segment_cine(open_cine(folder)), 40):
            memory.append(process.memory_info().rss / 2**20)
    return {"cine_100_frames_s": seconds, "memory_frame_10_MiB": memory[9], "memory_frame_40_MiB": memory[-1]}


if __name__ == "__main__":
    main()
