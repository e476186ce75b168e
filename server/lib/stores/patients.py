"""Which images are of one patient, without saying which patient.

Comes in: an image. Goes out: a name for the patient that holds nothing personal: from `cases.csv` in the study folder
(columns `image,case`; the image as its path below the folder, with or without suffix), else from DICOM's PatientID by a
keyed hash whose key never leaves the server, else the image stands for itself.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import secrets
from pathlib import Path, PurePosixPath

from lib.stores.durable import write_durably

from llnm.imaging.dicom import is_dicom

TABLE = "cases.csv"
KEY = "patients.key"


class Patients:
    """The patients of one study folder."""

    def __init__(self, root: Path, state: Path) -> None:
        self.table = root / TABLE
        self.key_file = state / KEY
        self._stamp = 0
        self._cases: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def of(self, image_id: str, path: Path) -> str:
        """The patient of an image."""
        cases = self._read_table()
        case = cases.get(image_id) or cases.get(str(PurePosixPath(image_id).with_suffix("")))
        if case:
            return case
        if image_id not in self._known:
            self._known[image_id] = self._from_dicom(path) or image_id
        return self._known[image_id]

    def _read_table(self) -> dict[str, str]:
        stamp = self.table.stat().st_mtime_ns if self.table.is_file() else 0
        if stamp != self._stamp:
            with self.table.open(encoding="utf-8", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row.get("image") and row.get("case")]
            self._cases, self._stamp = {row["image"]: row["case"] for row in rows}, stamp
        return self._cases

    def _from_dicom(self, path: Path) -> str | None:
        if not is_dicom(path):
            return None
        import pydicom

        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
        patient = str(header.get("PatientID", "")).strip()
        if not patient:
            return None
        return "patient-" + hmac.new(self._key(), patient.encode(), hashlib.sha256).hexdigest()[:12]

    def _key(self) -> bytes:
        if not self.key_file.is_file():
            write_durably(self.key_file, secrets.token_bytes(32))
            self.key_file.chmod(0o600)
        return self.key_file.read_bytes()
