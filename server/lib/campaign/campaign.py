"""A campaign: who annotates which image, what came of it, and what the models learned from it.

Comes in: images with their patients, annotators who ask for work and bring labels, models that were measured. Goes
out: leases, receipts, agreed masks, the status and the audit log. Everything lies in one folder: `campaign.sqlite` and
`labels/`, where each label is kept under its hash. What a call has returned is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.campaign.types import AgreedLabel, Disagreement, Lease, PoolImage, Receipt, Settings, Strategy


class Campaign:
    """One annotation campaign in `folder`; made there if it is new, continued if not.

    Safe to call from several threads, and from several processes on one folder. `strategies`: by name; `random` is
    always there. `clock`: seconds since 1970. Raises InputError for a folder of another campaign's settings or one
    that cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Settings | None = None,
        strategies: Mapping[str, Strategy] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        raise NotImplementedError

    def add_images(self, images: Iterable[PoolImage]) -> int:
        """Take images into the pool; those it knows are left as they are. Gives how many were new."""
        raise NotImplementedError

    def next_images(self, annotator: str, strategy: str = "hybrid", count: int = 1) -> list[Lease]:
        """At most `count` images for `annotator`, none of them in anybody else's work.

        What the annotator holds already comes first, with its time renewed, so that a request sent twice takes nothing
        twice; then validation images, then what `strategy` chooses. Empty where nothing is left. Raises UnknownError
        for a strategy that does not exist.
        """
        raise NotImplementedError

    def renew(self, lease: str, annotator: str) -> Lease:
        """Keep an image for longer. Raises LeaseLostError where it has passed to somebody else."""
        raise NotImplementedError

    def release(self, lease: str, annotator: str, *, skip: bool = False) -> None:
        """Give an image back; with `skip` it is not offered to this annotator again."""
        raise NotImplementedError

    def submitted(
        self,
        image: str,
        annotator: str,
        label_path: Path,
        seconds: float | None = None,
        *,
        submission: str | None = None,
        revise: bool = False,
    ) -> Receipt:
        """Take a label: copied under its hash, forced to disk, entered. Once this returns, nothing loses it.

        `seconds`: time at work, else from lease to now. `submission`: the client's name for this label; sent again with
        the same one, it counts once. Without one it is made of image, annotator and the label's hash. `revise`: replace
        what this annotator drew before. A label without a lease is taken as long as the image still needs a reader.

        Raises UnknownError for an image that is not in the pool, LeaseLostError where the image has passed to somebody
        else or needs no more labels, CampaignError for a file that is no mask of the image's size.
        """
        raise NotImplementedError

    def ask_readers(self, images: Sequence[str], readers: int, asked_by: str) -> None:
        """Have `images` read by `readers` annotators each, those who did so already counted in."""
        raise NotImplementedError

    def adjudication(self) -> list[Disagreement]:
        """Images whose readers disagree, for a reviewer to decide."""
        raise NotImplementedError

    def decide(self, image: str, reviewer: str, choice: str) -> None:
        """Settle a disagreement: `choice` is an annotator's name or `consensus`."""
        raise NotImplementedError

    def agreed(self) -> list[AgreedLabel]:
        """All settled masks; `validation` says which must not train."""
        raise NotImplementedError

    def record_model(self, version: str, labels: int, dice: Mapping[str, float], *, accepted: bool = True) -> None:
        """A point of the learning curve: the `dice` of each validation image by a model trained on `labels` labels."""
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """Counts by state and annotator, times, learning curve, disagreements, head of the audit log; plain JSON."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the data base."""
        raise NotImplementedError
