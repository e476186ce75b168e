"""What is known of each image of the pool before anybody has drawn on it.

Comes in: an uncertainty and a row of encoder features by image. Goes out: a `Pool`, kept in one file beside the
campaign, so that choosing the next image takes no network and no waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from llnm.errors import InputError
from llnm.files import whole_file


@dataclass(frozen=True, eq=False)
class Pool:
    """`images`: ids. `uncertainty` (N,): 0 sure to 1, NaN where no model has seen the image. `features` (N, D)."""

    images: tuple[str, ...]
    uncertainty: npt.NDArray[np.float32]
    features: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        shapes = (self.uncertainty.shape, self.features.shape[:1])
        if self.features.ndim != 2 or shapes != ((len(self.images),),) * 2:
            raise InputError(f"pool: {len(self.images)} images, but uncertainty and features of {shapes}")

    @cached_property
    def row(self) -> dict[str, int]:
        """The row of each image."""
        return {image: index for index, image in enumerate(self.images)}

    @cached_property
    def standard(self) -> npt.NDArray[np.float32]:
        """The features with mean 0 and deviation 1 over the pool: no channel counts for more by large numbers."""
        if not self.images:
            return self.features
        deviation = self.features.std(axis=0)
        return (self.features - self.features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)

    @classmethod
    def empty(cls) -> Pool:
        """A pool of which nothing is known: every strategy is chance then."""
        return cls((), np.zeros(0, np.float32), np.zeros((0, 1), np.float32))

    def save(self, path: Path) -> None:
        """Write as NumPy archive; raises InputError if the file cannot be written."""
        images = np.array(self.images, dtype=np.str_)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, images=images, uncertainty=self.uncertainty, features=self.features)

    @classmethod
    def load(cls, path: Path) -> Pool:
        """Read what `save` wrote; an empty pool where there is no file. Raises InputError for anything else."""
        if not path.is_file():
            return cls.empty()
        try:
            with np.load(path, allow_pickle=False) as archive:
                return cls(tuple(map(str, archive["images"])), archive["uncertainty"], archive["features"])
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(
                f"{path}: is no pool file ({error}); delete it, the next scoring writes it anew"
            ) from error
