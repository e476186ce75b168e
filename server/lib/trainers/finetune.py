"""Fine-tunes a segmentation network on the team's labels, from the first weights; kept only if it is no worse.

Comes in: labelled images with their patients. Goes out: a published version, or a record of why there is none. Some
patients never train but judge: the new weights and those in use are measured on them, by the same `segment` that
annotators call, and the new ones are published only if their mean Dice (over patients) is at least as high. Training
itself is `llnm.training.segmentation`, as `llnm train` runs it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lib.configs import ABOUT, TrainingSettings
from lib.images import SourceImage
from lib.trainers.versions import WEIGHTS, Versions
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from llnm.case import Mask, Structure
from llnm.errors import InputError
from llnm.files import write_mask, write_png, write_text

logger = logging.getLogger(__name__)
TRAINING, JUDGING = "training", "judging"
TRAINER_LOG = "ignite.engine.engine.SupervisedTrainer"
EPOCH = re.compile(r"Epoch\[(\d+)\] Complete")
LIMITS = {"epochs": (1, 1000), "learning_rate": (1e-7, 0.1), "batch_size": (1, 64), "seed": (0, 2**31)}
"""What a request may change, and from where to where."""


@dataclass(frozen=True)
class LabelledImage:
    """An image, its drawn mask (frame, row, column), its patient; `judges`: it must not train."""

    image: str
    source: SourceImage
    mask: Mask
    patient: str
    judges: bool = False


Gather = Callable[[Structure], Sequence[LabelledImage]]
Measured = Callable[[Structure, str, int, Mapping[str, float], bool], None]
"""Is told: structure, version, number of labels trained on, Dice by judging image, whether it was published."""


class FineTune(TrainTask):
    """The trainer of one network."""

    def __init__(
        self,
        structure: Structure,
        versions: Versions,
        gather: Gather,
        settings: TrainingSettings,
        measured: Measured | None = None,
    ) -> None:
        super().__init__(f"Fine-tune the {structure} network on the team's labels. {ABOUT}")
        self.structure, self.versions, self.gather = structure, versions, gather
        self.settings, self.measured = settings, measured

    def config(self) -> dict[str, Any]:
        """What a request may change."""
        return {name: getattr(self.settings, name) for name in LIMITS}

    def stats(self) -> dict[str, Any]:
        """Progress in the words of MONAILabel's plugin: `epoch`, `total_epochs`, `best_metric`, `total_time`."""
        return self.versions.stats(self.structure)

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train, measure, publish or roll back; raises InputError where there is too little to learn from."""
        settings = changed_settings(self.settings, request)
        with self.versions.training(self.structure) as work:
            started = time.monotonic()
            self.versions.tell(self.structure, status="preparing", epoch=0, total_epochs=settings.epochs)
            try:
                record = self._train(settings, work)
            except Exception as error:
                self.versions.tell(self.structure, status="failed", problem=str(error), total_time=_since(started))
                raise
            self.versions.tell(
                self.structure,
                status="published" if record["published"] else "rolled back",
                epoch=settings.epochs,
                total_epochs=settings.epochs,
                best_metric=record["dice"]["new"],
                total_time=_since(started),
                **{name: record[name] for name in ("published", "dice", "labels", "judging_images")},
            )
        return record

    def _train(self, settings: TrainingSettings, work: Path) -> dict[str, Any]:
        from llnm.training.data import find_items
        from llnm.training.measuring import evaluate
        from llnm.training.segmentation import train

        training, judging = split(self.gather(self.structure), settings.held_back_share)
        lay_out(training, self.structure, work / TRAINING, settings.images_per_patient)
        judges = lay_out(judging, self.structure, work / JUDGING, settings.images_per_patient)
        run = work / "run"
        changes = {
            "dataset_dir": [str(work / TRAINING)],
            "start_from": str(self.versions.first(self.structure)),
            "pretrained": False,
            "folds": 1,
            "max_epochs": settings.epochs,
            "learning_rate": settings.learning_rate,
            "encoder_rate": settings.encoder_rate,
            "batch_size": settings.batch_size,
            "seed": settings.seed,
        }
        with Progress(self.versions, self.structure, settings.epochs):
            train(self.structure, changes, run, threads=settings.threads)
        items = find_items(work / JUDGING, self.structure)
        in_use = self.versions.current(self.structure) or self.versions.first(self.structure)
        old, new = evaluate(self.structure, items, in_use), evaluate(self.structure, items, run / WEIGHTS)
        dice = {"in use": patient_mean(old), "new": patient_mean(new)}
        published = dice["new"] >= dice["in use"]
        record: dict[str, Any] = {
            "structure": self.structure,
            "labels": len(training),
            "judging_images": len(judging),
            "dice": dice,
            "compared_with": self.versions.number(self.structure),
            "published": published,
            "settings": asdict(settings),
            "notice": ABOUT,
        }
        means = new.assign(image=new["image"].map(judges)).groupby("image")["dice"].mean()
        by_image = {str(name): float(value) for name, value in means.items()}
        record["version"] = self._finish(run, record) if published else f"rolled back {time.strftime('%Y%m%dT%H%M%S')}"
        logger.info(
            "%s: Dice %.3f in use, %.3f new: %s", self.structure, dice["in use"], dice["new"], record["version"]
        )
        if self.measured is not None:
            self.measured(self.structure, record["version"], len(training), by_image, published)
        return record

    def _finish(self, run: Path, record: Mapping[str, Any]) -> str:
        """Publish what is needed of the run: not the checkpoint, not the log, no picture of a patient."""
        for name in ("checkpoint.pt", "failures.png"):
            (run / name).unlink(missing_ok=True)
        shutil.rmtree(run / "tensorboard", ignore_errors=True)
        return self.versions.publish(self.structure, run, record)


def changed_settings(settings: TrainingSettings, request: Mapping[str, Any]) -> TrainingSettings:
    """`settings` with what the request asks for; raises InputError for values outside `LIMITS`."""
    changes: dict[str, Any] = {}
    for name, (low, high) in LIMITS.items():
        if request.get(name) is None:
            continue
        value = request[name]
        whole = isinstance(getattr(settings, name), int)
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
            raise InputError(f"{name}: {repr(value)[:40]} cannot be used; give {low:g} to {high:g}")
        changes[name] = value
    return replace(settings, **changes)


def split(images: Sequence[LabelledImage], share: float) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """(training, judging), by patient. Images whose mask is empty are in neither.

    Where some images are said to judge, only they do. Else a hash of the patient decides, so that a patient who judged
    once never trains later; of few patients the one with the lowest hash judges. Raises InputError for too few.
    """
    usable = [image for image in images if image.mask.any()]
    judging = [image for image in usable if image.judges]
    if not judging:
        chosen = {image.patient for image in usable if _hash(image.patient) < share}
        chosen = chosen or {min((image.patient for image in usable), key=_hash, default="")}
        judging = [image for image in usable if image.patient in chosen]
    kept = {image.patient for image in judging}
    training = [image for image in usable if image.patient not in kept and not image.judges]
    patients = len({image.patient for image in usable})
    if not training and any(image.judges for image in judging):
        raise InputError(f"train: all {patients} patients labelled so far judge the networks; label images of others")
    if not training or not judging:
        raise InputError(
            f"train: labels of {patients} patients are too few; "
            "label images of two patients at least, one to learn from and one to judge by"
        )
    return training, judging


def _hash(patient: str) -> float:
    """0-1, the same on every machine."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") / 2**64


def lay_out(images: Sequence[LabelledImage], structure: Structure, folder: Path, most: int) -> dict[str, str]:
    """Write the folder that `llnm train` reads; gives the image's id by file stem. Loops give at most `most` frames."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("image", "case"))
    ids: dict[str, str] = {}
    (folder / "images").mkdir(parents=True)
    for number, item in enumerate(images):
        for stem in _write_frames(item, structure, folder, f"{number:05d}", most):
            ids[stem] = item.image
            writer.writerow((stem, item.patient))
    write_text(folder / "cases.csv", table.getvalue())
    return ids


def _write_frames(item: LabelledImage, structure: Structure, folder: Path, stem: str, most: int) -> list[str]:
    path = item.source.path
    if not item.source.is_cine:
        suffix = ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix
        # The stem of `x.nii.gz` is `x.nii`, by which the mask is looked for.
        name = f"{stem}.nii" if suffix == ".nii.gz" else stem
        (folder / "images" / f"{stem}{suffix}").symlink_to(path)
        write_mask(folder / structure / f"{name}.png", item.mask[0])
        return [name]
    drawn = np.flatnonzero(item.mask.any(axis=(1, 2)))
    chosen = {
        int(drawn[int((part + 0.5) * len(drawn) / min(most, len(drawn)))]) for part in range(min(most, len(drawn)))
    }
    written = []
    for frame in item.source.cine():
        if frame.index in chosen and frame.image is not None:
            name = f"{stem}_{frame.name}"
            write_png(folder / "images" / f"{name}.png", np.round(frame.image.pixels * 255).astype(np.uint8))
            write_mask(folder / structure / f"{name}.png", item.mask[frame.index])
            written.append(name)
    return written


def patient_mean(table: pd.DataFrame) -> float:
    """Mean Dice, each patient counting once."""
    return round(float(table.groupby(["source", "group"])["dice"].mean().mean()), 4)


class Progress(logging.Handler):
    """Tells the epoch as the trainer logs it."""

    def __init__(self, versions: Versions, structure: Structure, epochs: int) -> None:
        super().__init__(logging.INFO)
        self.versions, self.structure, self.epochs = versions, structure, epochs

    def __enter__(self) -> None:
        self._tell(0)
        log = logging.getLogger(TRAINER_LOG)
        log.setLevel(logging.INFO)
        log.addHandler(self)

    def __exit__(self, *_: object) -> None:
        logging.getLogger(TRAINER_LOG).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """A line of the trainer's log."""
        if found := EPOCH.search(record.getMessage()):
            self._tell(int(found[1]))

    def _tell(self, epoch: int) -> None:
        self.versions.tell(self.structure, status="training", epoch=epoch, total_epochs=self.epochs)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)
