"""The desk between the server and its campaign: images go in, leases and settled masks come out.

Comes in: the store's images, annotators' names and masks. Goes out: MONAILabel strategies that hand out leases, so that
no two annotators get the same image, and what the trainers learn from. The campaign itself is `lib.campaign`, what is
chosen next `lib.activelearning`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.activelearning.pool import Pool
from lib.activelearning.strategies import strategies
from lib.campaign import AgreedLabel, Campaign, PoolImage, Settings
from lib.stores.folder import StudyFolder
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from llnm.case import Structure
from llnm.errors import InputError

logger = logging.getLogger(__name__)
FOLDER, POOL = "campaign", "pool.npz"


class PoolFile:
    """The pool that scoring writes beside the campaign; read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[int, Pool] = (-1, Pool.empty())

    def __call__(self) -> Pool:
        """What is known of the images now."""
        stamp = self.path.stat().st_mtime_ns if self.path.is_file() else -1
        if stamp != self._known[0]:
            self._known = (stamp, Pool.load(self.path))
        return self._known[1]


class CampaignDesk:
    """The campaign of one server."""

    def __init__(self, folder: Path, settings: Settings, store: StudyFolder) -> None:
        self.settings, self.store = settings, store
        self.pool = PoolFile(folder / POOL)
        choices = strategies(self.pool, settings.seed)
        self.names = tuple(choices)
        self.campaign = Campaign(folder, settings=settings, strategies=choices)
        self._offered: set[str] = set()

    @property
    def structure(self) -> Structure:
        """What the campaign draws."""
        return self.settings.structure

    def offer(self, images: Sequence[str]) -> set[str]:
        """Take single images into the pool; gives all that were looked at. Loops are annotated outside of campaigns."""
        new, looked_at = [], set()
        for image in images:
            looked_at.add(image)
            try:
                source = self.store.source(image)
            except InputError as error:
                logger.warning("not offered: %s", error)
                continue
            if not source.is_cine:
                new.append(PoolImage(image, source.path, self.store.patient(image)))
        self.campaign.add_images(new)
        self._offered |= {image.id for image in new}
        return looked_at

    def has(self, image: str) -> bool:
        """Whether the campaign offers this image."""
        return image in self._offered

    def submit(self, image: str, annotator: str, mask: Path, seconds: float | None, submission: str | None) -> None:
        """Take a label; a second one of the same annotator replaces the first. Raises the campaign's errors."""
        self.campaign.submitted(image, annotator, mask, seconds, submission=submission, revise=True)

    def unscored(self) -> bool:
        """Whether the pool knows nothing of some image that the campaign offers."""
        return not self._offered <= set(self.pool().images)

    def agreed(self, structure: Structure) -> list[AgreedLabel]:
        """Settled masks of a structure, if it is the campaign's."""
        return self.campaign.agreed() if structure == self.structure else []

    def settled(self, image: str) -> AgreedLabel | None:
        """The settled mask of an image, if it has one."""
        return self.campaign.settled(image)

    def images(self, structure: Structure) -> set[str]:
        """Images whose masks of this structure the campaign settles."""
        return set(self._offered) if structure == self.structure else set()

    def record(
        self, structure: Structure, version: str, labels: int, dice: Mapping[str, float], published: bool
    ) -> None:
        """A point of the learning curve, if it is about the campaign's structure."""
        if structure == self.structure:
            self.campaign.record_model(version, labels, dice, accepted=published)

    def close(self) -> None:
        """End of the process."""
        self.campaign.close()


class CampaignStrategy(Strategy):
    """One of the campaign's strategies, as MONAILabel calls it."""

    def __init__(self, desk: CampaignDesk, name: str) -> None:
        super().__init__(f"Next image by {name}, kept for one annotator until the lease ends")
        self.desk, self.name = desk, name

    def __call__(self, request: Mapping[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Id, lease and seconds left of an image for `request["annotator"]`; empty where nothing is left."""
        annotator = request["annotator"]
        there = set(self.desk.store.list_images())
        while leases := self.desk.campaign.next_images(annotator, self.name, 1):
            lease = leases[0]
            if lease.image in there:
                return {"id": lease.image, "lease": lease.id, "expires_in_s": round(lease.expires - time.time(), 1)}
            # Removed from the folder since the campaign began.
            self.desk.campaign.release(lease.id, annotator, skip=True)
        return {}


def open_desk(state: Path, settings: Mapping[str, Any], store: StudyFolder) -> CampaignDesk:
    """The campaign below `state`, begun or continued."""
    return CampaignDesk(state / FOLDER, Settings(**settings), store)
