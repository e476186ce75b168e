"""A PACS over DICOMweb as the datastore: ultrasound images come in, SEG objects go back.

Comes in: the service's address. Goes out: images by `study/series/instance.dcm` (a series of ultrasound holds images
of several sizes, so each instance is an image of its own). Labels are kept here first, as in a study folder; a final
one is then sent as DICOM SEG. Where the PACS does not answer, the label is safe, and is sent with the next one or at
the next start.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from dicomweb_client.session_utils import create_session_from_user_pass
from lib.configs import FINAL
from lib.images import LabelMap
from lib.stores.durable import publish, read_json, temporary_beside, write_json
from lib.stores.folder import StudyFolder
from lib.stores.segmentation_object import segmentation_objects
from monailabel.config import settings
from monailabel.interfaces.exception import ImageNotFoundException

from llnm.errors import InputError

logger = logging.getLogger(__name__)
SEARCH_EVERY_S = 20.0
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
UID_CHARACTERS = set("0123456789.")


class DicomWebStore(StudyFolder):
    """Ultrasound of the PACS at `address`; what was loaded lies in `state/dicom`, labels in `state/labels`.

    Raises InputError where the service does not answer.
    """

    def __init__(self, address: str, state: Path) -> None:
        root = state / "dicom"
        root.mkdir(parents=True, exist_ok=True)
        session = None
        if settings.MONAI_LABEL_DICOMWEB_USERNAME:
            session = create_session_from_user_pass(
                settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
            )
        self.address = address.rstrip("/")
        self.client = DICOMwebClient(
            url=self.address,
            session=session,
            qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
            wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
            stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
        )
        self._outbox = state / "outbox"
        self._sending = threading.Lock()
        super().__init__(root, state, state / "labels")
        try:
            self._found = self._search()
        except requests.RequestException as error:
            raise InputError(
                f"{self.address}: the DICOMweb service does not answer ({type(error).__name__}); check the address"
            ) from error

    def recover(self) -> None:
        """As of a folder; and what waits for the PACS is sent."""
        super().recover()
        threading.Thread(target=self.send_waiting, name="outbox", daemon=True).start()

    def name(self) -> str:
        """The service's address."""
        return self.address

    def description(self) -> str:
        """One line for clients."""
        return f"Ultrasound of a PACS ({settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER})"

    # ---- images

    def _scan(self) -> Mapping[str, Path]:
        """Images of the PACS; while it does not answer, those that were known."""
        with self._lock:
            if time.monotonic() - self._scanned > SEARCH_EVERY_S:
                try:
                    self._found = self._search()
                except requests.RequestException as error:
                    logger.warning("%s: the PACS does not answer (%s)", self.address, type(error).__name__)
                self._scanned = time.monotonic()
            return self._found

    def _search(self) -> dict[str, Path]:
        found = {}
        series = self.client.search_for_series(
            search_filters=settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, get_remaining=True
        )
        for one in series:
            study, uid = _value(one, STUDY), _value(one, SERIES)
            for instance in self.client.search_for_instances(study, uid, get_remaining=True):
                parts = (study, uid, _value(instance, INSTANCE))
                if all(_is_uid(part) for part in parts):
                    image = f"{'/'.join(parts)}.dcm"
                    found[image] = self.root / image
        return found

    def image_path(self, image_id: str) -> Path:
        """The file of an image, loaded from the PACS when it is first wanted."""
        path = self._scan().get(image_id)
        if path is None:
            raise ImageNotFoundException("image: there is none of this id; ask /datastore/ for what there is")
        if not path.is_file():
            self._load(image_id, path)
        return path

    def _load(self, image_id: str, path: Path) -> None:
        try:
            loaded = self.client.retrieve_instance(*image_id.removesuffix(".dcm").split("/"))
        except (requests.RequestException, ValueError) as error:
            raise InputError(f"image: the PACS did not give it ({type(error).__name__}); try again later") from error
        temporary = temporary_beside(path, ".dcm")
        try:
            loaded.save_as(temporary, write_like_original=False)
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refused: images come into a PACS from its scanners."""
        raise InputError("image: this server shows a PACS; send images there")

    def remove_image(self, image_id: str) -> None:
        """Refused, as `add_image`."""
        raise InputError("image: this server shows a PACS; remove images there")

    # ---- labels

    def keep_label(self, image_id: str, label: LabelMap, tag: str) -> str:
        """Keep a label here; a final one is then sent to the PACS."""
        kept = super().keep_label(image_id, label, tag)
        if tag == FINAL:
            write_json(self._ticket(image_id), {"image": image_id})
            self.send_waiting()
        return kept

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Note something on a label; the PACS keeps the SEG it has."""
        with self._lock:
            label = self.label(label_id, label_tag)
            added = {key: value for key, value in info.items() if key != "structures"}
            super().keep_label(label_id, replace(label, record={**label.record, **added}), label_tag)

    def sent(self, image_id: str, tag: str) -> dict[str, Any]:
        """Whether the PACS has this final label as SEG."""
        if tag != FINAL:
            return {}
        return {"dicom_seg": "waiting for the PACS" if self._ticket(image_id).is_file() else "stored in the PACS"}

    def _ticket(self, image_id: str) -> Path:
        return self._outbox / f"{self._info_file(image_id).stem}.json"

    def send_waiting(self) -> None:
        """Send every label that the PACS does not have yet; what fails waits for the next time."""
        with self._sending:
            for ticket in sorted(self._outbox.glob("*.json")):
                image = str(read_json(ticket).get("image", ""))
                try:
                    objects = segmentation_objects(self.image_path(image), self.label(image))
                    if objects:
                        self.client.store_instances(objects)
                    ticket.unlink()
                    self._note(image, objects)
                except requests.RequestException as error:
                    logger.warning("outbox: the PACS does not answer (%s); the label waits", type(error).__name__)
                    return
                except Exception:
                    # Whatever is wrong with one image must not keep the others from being sent.
                    logger.exception("outbox: the label of an image cannot be sent")

    def _note(self, image: str, objects: Iterable[Any]) -> None:
        self.update_image_info(image, {"dicom_seg": [str(each.SOPInstanceUID) for each in objects]})


def _value(found: Mapping[str, Any], tag: str) -> str:
    values = found.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= 64 and set(text) <= UID_CHARACTERS and not text.startswith(".")
