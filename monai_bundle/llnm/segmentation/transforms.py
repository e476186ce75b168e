"""The segmentation bundles' own MONAI transforms: from the file of a frame to what a network sees, and back to a mask.

Comes in: dictionaries with the paths of images (and of masks that were drawn on them). Goes out: the canvas tensor, and
after `monai.transforms.Invertd` masks in the frame's own pixels, also as PNG files.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform

from llnm.case import Structure
from llnm.errors import InputError
from llnm.files import check_not_overwritten, unique_names, write_mask
from llnm.imaging import load_image, load_mask, prepare
from llnm.imaging.cine import is_frame, natural_order
from llnm.segmentation.candidates import find_candidates, union
from llnm.segmentation.canvas import place_on_canvas, restore

FILE_NAME = "filename_or_obj"
"""MONAI's name, in a tensor's meta data, of the file it was read from."""

Data = Mapping[Hashable, Any]


def find_frames(path: str | Path) -> list[dict[str, str]]:
    """`image` (path) and `name` (of its mask) for each image in a folder and its subfolders, or for one file.

    Equal stems get a number, as `llnm segment` gives them. Raises InputError where there is no image.
    """
    if not str(path):
        raise InputError("dataset_dir: no images given; give a folder of images or one image file")
    root = Path(path)
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; give a folder of images or one image file as dataset_dir")
    files = [root] if root.is_file() else [file for file in root.rglob("*") if is_frame(file)]
    if not files:
        raise InputError(f"{root}: the folder holds no image; give one with DICOM, PNG, JPEG, BMP, TIFF or NIfTI files")
    files.sort(key=lambda file: natural_order(str(file)))
    return [{"image": str(file), "name": name} for file, name in zip(files, unique_names(files), strict=True)]


class LoadOnCanvasd(MapTransform, InvertibleTransform):
    """Path of a frame -> what a network sees of it, (2, rows, columns) of the canvas, float32, 0-1; no guidance.

    Prepared as everywhere (`imaging.prepare`). The inverse takes maps (C, rows, columns) 0-1 on the canvas to the
    frame's own pixels. Raises InputError for a file that cannot be used.
    """

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """`data` with a MetaTensor in place of each path."""
        out = dict(data)
        for key in self.key_iterator(out):
            path = out[key]
            out[key] = place_on_canvas(prepare(load_image(path)))
            out[key].meta[FILE_NAME] = str(path)
        return out

    def inverse(self, data: Data) -> dict[Hashable, Any]:
        """`data` with each map in the pixels of the frame it belongs to."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = MetaTensor(restore(out[key].as_tensor(), out[key]), meta=out[key].meta)
        return out


class LoadMaskd(MapTransform):
    """Path of a mask -> (1, rows, columns) float32, 0 or 1, as large as the frame loaded from `image_key`.

    Raises InputError for a file that cannot be used, is empty or of another size than its frame.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image") -> None:
        super().__init__(keys)
        self.image_key = image_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """`data` with a tensor in place of each path."""
        out = dict(data)
        rows, columns = (int(side) for side in out[self.image_key].meta["spatial_shape"])
        for key in self.key_iterator(out):
            mask = load_mask(out[key], (rows, columns))
            out[key] = MetaTensor(torch.from_numpy(mask[None].astype(np.float32)), meta={FILE_NAME: str(out[key])})
        return out


class CutMaskd(MapTransform):
    """Maps (C, rows, columns), probability first -> mask (1, rows, columns) float32, 0 or 1, of all candidates."""

    def __init__(self, keys: KeysCollection, structure: Structure) -> None:
        super().__init__(keys)
        self.structure = structure

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """`data` with a mask in place of each probability map."""
        out = dict(data)
        for key in self.key_iterator(out):
            probability = np.asarray(out[key][0].cpu())
            mask = union(find_candidates(probability, self.structure), probability.shape)
            out[key] = MetaTensor(torch.from_numpy(mask[None].astype(np.float32)), meta=dict(out[key].meta))
        return out


class SaveMaskd(MapTransform):
    """Write each mask (1, rows, columns) as `output_dir`/<name>.png: 0 and 255, lossless, as large as its frame.

    The name stands under `name_key`; without it, it is the stem of the image's file. A file is written whole or not at
    all. Raises InputError where it cannot be written or would replace its own image.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path, name_key: str = "name") -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.name_key = name_key

    def __call__(self, data: Data) -> dict[Hashable, Any]:
        """`data` as it is."""
        for key in self.key_iterator(dict(data)):
            image = Path(data[key].meta[FILE_NAME])
            target = self.output_dir / f"{data.get(self.name_key) or image.stem}.png"
            check_not_overwritten(image, target, "output_dir")
            write_mask(target, np.asarray(data[key][0].cpu()) > 0)
        return dict(data)
