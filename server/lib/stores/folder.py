"""A folder of studies as MONAILabel's datastore: every image that `llnm` reads, in any subfolder.

Comes in: a folder. Goes out: images by id (their path below the folder, with suffix, so equal stems stay apart), labels
in `labels/<tag>/<id>.seg.nrrd`, each replaced in one step and kept in `labels/.history` when it is. New files are seen
without a restart. Nothing outside the folder is read, links included; the ids of clients are looked up, never joined to
a path.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from lib.configs import FINAL, ORIGINAL
from lib.images import LabelMap, SourceImage, open_source, read_label, write_label
from lib.images.labels import SUFFIX, read_record, read_stored
from lib.stores.durable import publish, read_json, remove_unfinished, temporary_beside, write_json
from lib.stores.known import KnownSources
from lib.stores.patients import Patients
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException

from llnm.errors import InputError
from llnm.imaging.dicom import is_dicom
from llnm.imaging.reading import RASTER_SUFFIXES

logger = logging.getLogger(__name__)
IMAGE_SUFFIXES = (*RASTER_SUFFIXES, ".nii", ".nii.gz", ".nrrd", ".dcm", ".dicom", ".ima")
LABELS, STATE, HISTORY, KNOWN = "labels", ".llnm", ".history", "known_images.json"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
LONGEST_NAME = 240
"""Bytes of a file name, so that its label's name is one, too."""
SCAN_EVERY_S = 1.0


class StudyFolder(Datastore):
    """Images and labels below `root`; what the server itself remembers lies in `state` (`root/.llnm` by default).

    Safe to call from several threads; a training in another process reads the same files.
    """

    def __init__(self, root: Path, state: Path | None = None, labels: Path | None = None) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise InputError(f"{root}: there is no such folder; give the folder that holds the images")
        self.state = state or self.root / STATE
        self.labels = labels or self.root / LABELS
        try:
            for folder in (self.labels / FINAL, self.labels / ORIGINAL, self.state):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be made ({error.strerror}); labels are kept there") from error
        self.patients = Patients(self.root, self.state)
        self._lock = threading.RLock()
        self._images: dict[str, Path] = {}
        self._scanned = float("-inf")
        self._sources = KnownSources(self.state / KNOWN)
        self._records: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}

    def recover(self) -> None:
        """At the start of the server, and of it alone: remove what a kill left half-written."""
        left = remove_unfinished(self.labels) + remove_unfinished(self.state)
        if left:
            logger.info("removed %d unfinished files of an earlier run", left)

    # ---- what there is

    def name(self) -> str:
        """Name of the folder; its path stays here."""
        return self.root.name

    def set_name(self, name: str) -> None:
        """MONAILabel asks for it; a folder keeps its name."""

    def description(self) -> str:
        """One line for clients."""
        return "Ultrasound images of a study folder"

    def set_description(self, description: str) -> None:
        """MONAILabel asks for it; nothing is kept."""

    def list_images(self) -> list[str]:
        """All ids, in order."""
        return sorted(self._scan())

    def refresh(self) -> None:
        """Look at the folder again now."""
        with self._lock:
            self._scanned = float("-inf")

    def _scan(self) -> Mapping[str, Path]:
        with self._lock:
            if time.monotonic() - self._scanned > SCAN_EVERY_S:
                self._images = {path.relative_to(self.root).as_posix(): path for path in self._walk()}
                self._scanned = time.monotonic()
            return self._images

    def _walk(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self.root):
            here = Path(folder)
            folders[:] = [name for name in folders if not name.startswith(".") and here / name != self.labels]
            for name in files:
                path = here / name
                usable = not name.startswith(".") and len(os.fsencode(name)) <= LONGEST_NAME and self._is_image(path)
                if usable and path.resolve().is_relative_to(self.root):
                    yield path

    @staticmethod
    def _is_image(path: Path) -> bool:
        name = path.name.lower()
        if name.endswith(SUFFIX):
            return False
        if name.endswith(IMAGE_SUFFIXES):
            return True
        try:
            return "." not in name and path.stat().st_size > 132 and is_dicom(path)
        except OSError:
            return False

    # ---- images

    def image_path(self, image_id: str) -> Path:
        """The file of an image; raises ImageNotFoundException for an id that the folder does not have."""
        path = self._scan().get(image_id)
        if path is None:
            self.refresh()
            path = self._scan().get(image_id)
        if path is None or not path.is_file():
            raise ImageNotFoundException("image: there is none of this id; ask /datastore/ for what there is")
        return path

    def source(self, image_id: str) -> SourceImage:
        """The image with its grid. Raises InputError for a file that cannot be used."""
        return self._sources(image_id, self.image_path(image_id))

    def remember(self) -> None:
        """Keep what was learned of the images for the next start."""
        self._sources.keep(self._scan())

    def copy_for_annotators(self, image_id: str) -> Path:
        """NRRD file with the pixels and the grid alone, made once."""
        source = self.source(image_id)
        stat = source.path.stat()
        key = hashlib.sha256(f"{image_id}|{stat.st_mtime_ns}|{stat.st_size}".encode()).hexdigest()[:32]
        copy = self.state / "copies" / f"{key}.nrrd"
        if not copy.is_file():
            temporary = temporary_beside(copy)
            source.write_copy(temporary)
            publish(temporary, copy)
        return copy

    def get_image(self, image_id: str, params: Any = None) -> Any:
        """The file's bytes, in memory."""
        return BytesIO(self.image_path(image_id).read_bytes())

    def get_image_uri(self, image_id: str) -> str:
        """The file's path, for this process; clients never see it."""
        return str(self.image_path(image_id))

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What a client may know: a file name that no other image has, the size, and what was noted on it."""
        self.image_path(image_id)
        return {**read_json(self._info_file(image_id)), "name": copy_name(image_id)}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something on an image."""
        self.image_path(image_id)
        with self._lock:
            file = self._info_file(image_id)
            write_json(file, {**read_json(file), **info})

    def _info_file(self, image_id: str) -> Path:
        return self.state / "images" / f"{hashlib.sha256(image_id.encode()).hexdigest()[:32]}.json"

    def patient(self, image_id: str) -> str:
        """The patient whose images stay together, without naming them (see `lib.stores.patients`)."""
        return self.patients.of(image_id, self.image_path(image_id))

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Take a new image under a file name of one part; raises InputError for a name that is taken or no file name.

        The suffix is that of the file sent. What cannot be read as an image is refused.
        """
        suffix = next(
            (end for end in sorted(IMAGE_SUFFIXES, key=len)[::-1] if image_filename.lower().endswith(end)), ""
        )
        if not suffix:
            raise InputError(f"image: files of this type are not taken; send one of {', '.join(IMAGE_SUFFIXES)}")
        name = image_id if image_id.lower().endswith(suffix) else f"{image_id}{suffix}"
        if not re.fullmatch(r"[^\W.][\w .()+-]{0,199}", name) or len(name.encode()) > LONGEST_NAME or name == LABELS:
            raise InputError("image: this is no file name; use letters, digits, space and . _ - ( ) +, no folders")
        open_source(Path(image_filename))
        target = self.root / name
        temporary = temporary_beside(target, suffix)
        try:
            temporary.write_bytes(Path(image_filename).read_bytes())
            with self._lock:
                if target.exists():
                    raise InputError(f"image: {name} is there already; send it under another name")
                publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        self.refresh()
        if image_info:
            self.update_image_info(name, image_info)
        return name

    def remove_image(self, image_id: str) -> None:
        """Move an image and its labels out of the way, into `labels/.history`; nothing is destroyed."""
        path = self.image_path(image_id)
        for tag in self._tags():
            if self._label_file(image_id, tag).is_file():
                self.remove_label(image_id, tag)
        target = self.labels / HISTORY / "images" / image_id / f"{time.time_ns()}-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        self.refresh()

    # ---- labels

    def _tags(self) -> list[str]:
        return sorted(path.name for path in self.labels.iterdir() if path.is_dir() and TAG.fullmatch(path.name))

    def _label_file(self, image_id: str, tag: str) -> Path:
        if not TAG.fullmatch(tag):
            raise InputError("tag: use letters, digits, _ and -, at most 64")
        # The id is one of the folder's own, so its parts are real names below it.
        return self.labels / tag / PurePosixPath(f"{image_id}{SUFFIX}")

    def _history(self, tag: str, image_id: str) -> Path:
        return self.labels / HISTORY / tag / image_id / f"{time.time_ns()}{SUFFIX}"

    def label_path(self, label_id: str, tag: str) -> Path:
        """The file of a label; raises LabelNotFoundException where there is none."""
        self.image_path(label_id)
        path = self._label_file(label_id, tag)
        if not path.is_file():
            raise LabelNotFoundException("label: there is none of this image and tag")
        return path

    def label(self, image_id: str, tag: str = FINAL) -> LabelMap:
        """A label with its record; raises LabelNotFoundException where there is none."""
        return read_stored(self.label_path(image_id, tag))

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Check a label that a client sent and keep it; once this returns it is on the disk.

        `label_info`: see `lib.images.read_label` for `label_info` and `structures`; the rest is kept as its record.
        """
        info = dict(label_info or {})
        # MONAILabel's own inference sends what the network said along as "params".
        structures = info.pop("structures", None)
        label = read_label(Path(label_filename), self.source(image_id).geometry, info.get("label_info"), structures)
        return self.keep_label(image_id, replace(label, record=info), label_tag)

    def keep_label(self, image_id: str, label: LabelMap, tag: str) -> str:
        """Keep a checked label map under a tag; the one it replaces goes to the history. On disk once this returns."""
        file = self._label_file(image_id, tag)
        geometry = self.source(image_id).geometry
        record = {**label.record, "ts": int(time.time()), "name": f"{copy_name(image_id, '')}{SUFFIX}"}
        temporary = temporary_beside(file, SUFFIX)
        try:
            write_label(temporary, replace(label, record=record), geometry)
            with self._lock:
                if file.is_file():
                    old = self._history(tag, image_id)
                    old.parent.mkdir(parents=True, exist_ok=True)
                    os.link(file, old)
                publish(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
        return image_id

    def sent(self, image_id: str, tag: str) -> dict[str, Any]:
        """What became of a label beyond this store; here nothing."""
        return {}

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Move a label to the history."""
        file = self.label_path(label_id, label_tag)
        old = self._history(label_tag, label_id)
        old.parent.mkdir(parents=True, exist_ok=True)
        file.replace(old)

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> Any:
        """The label file's bytes, in memory."""
        return BytesIO(self.label_path(label_id, label_tag).read_bytes())

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """The label file's path, for this process."""
        return str(self.label_path(label_id, label_tag))

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tags of an image's labels; a label's id is its image's."""
        return {tag: image_id for tag in self._tags() if self._label_file(image_id, tag).is_file()}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """The label's id, or an empty string."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """The record of a label, read from its header once."""
        file = self.label_path(label_id, label_tag)
        stamp = file.stat().st_mtime_ns
        known = self._records.get((label_id, label_tag))
        if known is None or known[0] != stamp:
            known = (stamp, read_record(file))
            self._records[(label_id, label_tag)] = known
        return dict(known[1])

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Note something on a label; its structures and its pixels stay."""
        with self._lock:
            label = self.label(label_id, label_tag)
            added = {key: value for key, value in info.items() if key != "structures"}
            self.keep_label(label_id, replace(label, record={**label.record, **added}), label_tag)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Images with a final label (or one of `label_tag`)."""
        tag = label_tag or FINAL
        return [image for image in self.list_images() if self._label_file(image, tag).is_file()]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Images without."""
        done = set(self.get_labeled_images(label_tag))
        return [image for image in self.list_images() if image not in done]

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Image and final label of each labelled image: paths for this process, ids for clients."""
        pairs = [(image, self._label_file(image, FINAL)) for image in self.get_labeled_images()]
        if full_path:
            return [{"image": self.get_image_uri(image), "label": str(label)} for image, label in pairs]
        return [{"image": image, "label": label.relative_to(self.labels).as_posix()} for image, label in pairs]

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """A zip with the annotators' copy and the final label of each labelled image, in a temporary file."""
        images = self.get_labeled_images()[: limit_cases or None]
        with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as file, zipfile.ZipFile(file, "w") as archive:
            for image in images:
                archive.write(self.copy_for_annotators(image), f"image/{image}.nrrd")
                archive.write(self.label_path(image, FINAL), f"label/{image}{SUFFIX}")
        return file.name

    def status(self) -> dict[str, Any]:
        """How many images there are and how many have a final label."""
        images = self.list_images()
        tags = {tag: sum(self._label_file(image, tag).is_file() for image in images) for tag in self._tags()}
        return {"total": len(images), "completed": tags.get(FINAL, 0), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """Everything by image, in the form that MONAILabel's clients expect."""
        objects = {}
        for image in self.list_images():
            labels = {
                tag: {"ext": SUFFIX, "info": self.get_label_info(image, tag)}
                for tag in self.get_labels_by_image_id(image)
            }
            objects[image] = {"image": {"ext": "", "info": self.get_image_info(image)}, "labels": labels}
        return {"name": self.name(), "description": self.description(), "objects": objects}


def copy_name(image_id: str, suffix: str = ".nrrd") -> str:
    """A file name for a client that no other image has: 3D Slicer keeps downloads by name."""
    path = PurePosixPath(image_id)
    stem = re.sub(r"[^\w.-]", "_", path.name)[:80]
    return f"{stem}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}{suffix}"
