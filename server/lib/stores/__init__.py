"""Where images and labels lie: a folder of studies, or a PACS over DICOMweb.

Comes in: a folder or an address. Goes out: a MONAILabel `Datastore` that keeps what it acknowledged.
"""

from __future__ import annotations

from pathlib import Path

from lib.stores.folder import StudyFolder

__all__ = ["StudyFolder", "open_store"]


def open_store(studies: str, state: Path) -> StudyFolder:
    """The store behind what `--studies` names: a folder, or a DICOMweb address."""
    if studies.startswith(("http://", "https://")):
        from lib.stores.dicomweb import DicomWebStore

        return DicomWebStore(studies, state)
    return StudyFolder(Path(studies), state)
