"""A campaign: who annotates which image, what came of it, and what the models learned from it.

Comes in: images with their patients, annotators who ask for work and bring labels, models that were measured. Goes
out: leases, receipts, agreed masks, the status and the audit log. Everything lies in one folder: `campaign.sqlite` and
`labels/`, where each label is kept under its hash. What a call has returned is on disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lib.campaign import audit, outcomes, queries
from lib.campaign.chance import share, shuffled
from lib.campaign.errors import CampaignError, LeaseLostError, NotAllowedError, UnknownError
from lib.campaign.masks import ReadLabel, read_mask
from lib.campaign.status import status_of
from lib.campaign.store import Store
from lib.campaign.types import (
    CONSENSUS,
    AgreedLabel,
    Disagreement,
    Lease,
    PoolImage,
    Receipt,
    Settings,
    Strategy,
)

from llnm.errors import InputError

# What a campaign cannot change once it has begun: what its labels show, and which patients train no model.
_FIXED = ("structure", "validation_share", "seed")
_LONGEST_NAME = 200
# How the log calls what no person did, and a decision what no reader drew.
_RESERVED = ("campaign", CONSENSUS)


class Campaign:
    """One annotation campaign in `folder`; made there if it is new, continued if not.

    Safe to call from several threads, and from several processes on one folder. `strategies`: by name; `random` is
    always there. `read_label`: the mask of the campaign's structure, (row, column) bool, from the path of a label and
    that of its image; by default, above 0 is inside. `clock`: seconds since 1970. Raises InputError for a folder of
    another campaign's settings or one that cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Settings | None = None,
        strategies: Mapping[str, Strategy] | None = None,
        read_label: ReadLabel = read_mask,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = Store(folder)
        self.read_label = read_label
        self._clock = clock
        self.folder = folder
        self.settings = self._agreed_settings(settings)
        self.strategies: dict[str, Strategy] = {
            "random": lambda candidates, covered, count: shuffled(candidates, self.settings.seed)[:count],
            **(strategies or {}),
        }
        # A process that ended between the last reader's label and what follows from it left that to the next one.
        with self._store.reading() as database:
            unsettled = queries.unsettled(database)
        for image in unsettled:
            self._settle(image)

    def add_images(self, images: Iterable[PoolImage]) -> int:
        """Take images into the pool; those it knows are left as they are. Gives how many were new.

        Which patients are for validation hangs on the seed and the patient's name, so that later images of a patient
        fall on the same side.
        """
        added = []
        with self._store.transaction() as database:
            for image in images:
                validation = share(self.settings.seed, image.patient) < self.settings.validation_share
                row = (image.id, str(image.path), image.patient, validation)
                found = database.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, 1)", row)
                if found.rowcount:
                    added.append(image.id)
            if added:
                self._note(database, "campaign", "images added", images=added)
        return len(added)

    def next_images(self, annotator: str, strategy: str = "hybrid", count: int = 1) -> list[Lease]:
        """At most `count` images for `annotator`, none of them in anybody else's work.

        What the annotator holds already comes first, with its time renewed, so that a request sent twice takes nothing
        twice; then images of which somebody asked for several readers, then validation images, then what `strategy`
        chooses. Empty where nothing is left. Raises UnknownError for a strategy that does not exist.
        """
        _check_name(annotator)
        if strategy not in self.strategies:
            raise UnknownError(f"strategy: {strategy!r} is not known; choose one of {', '.join(self.strategies)}")
        if not 1 <= count <= self.settings.most_in_work:
            raise CampaignError(f"count: {count} images; ask for 1 to {self.settings.most_in_work}")
        with self._store.transaction() as database:
            now = self._clock()
            held = [self._extended(database, lease) for lease in queries.held(database, annotator, now)][:count]
            wanted = count - len(held)
            if wanted <= 0:
                return held
            free = queries.free(database, annotator, now)
            parts: list[Sequence[str]] = [
                shuffled((row["id"] for row in free if row["readers"] > 1), self.settings.seed),
                shuffled((row["id"] for row in free if row["readers"] == 1 and row["validation"]), self.settings.seed),
            ]
            chosen = [*parts[0], *parts[1]][:wanted]
            others = [row["id"] for row in free if row["readers"] == 1 and not row["validation"]]
            if len(chosen) < wanted and others:
                covered = queries.covered(database, now)
                chosen += self.strategies[strategy](others, covered, wanted - len(chosen))
            return held + [self._lease(database, image, annotator, strategy) for image in chosen]

    def renew(self, lease: str, annotator: str) -> Lease:
        """Keep an image for longer. Raises LeaseLostError where it has passed to somebody else."""
        with self._store.transaction() as database:
            found = self._lease_of(database, lease, annotator)
            if not queries.free(database, annotator, self._clock(), found.image):
                raise self._lost(database, found.image, annotator)
            return self._extended(database, found)

    def release(self, lease: str, annotator: str, *, skip: bool = False) -> None:
        """Give an image back; with `skip` it is not offered to this annotator again."""
        with self._store.transaction() as database:
            found = self._lease_of(database, lease, annotator)
            database.execute("DELETE FROM leases WHERE id = ?", (found.id,))
            if skip:
                database.execute("INSERT OR IGNORE INTO skips VALUES (?, ?)", (found.image, annotator))
            self._note(database, annotator, "skipped" if skip else "released", image=found.image)

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
        _check_name(annotator)
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise CampaignError(f"seconds: {seconds} is no time; give 0 or more, or leave it out")
        if submission is not None:
            _check_name(submission, "submission")
        file, digest = self._kept(image, label_path)
        submission = submission or hashlib.sha256(json.dumps([image, annotator, digest]).encode()).hexdigest()
        with self._store.transaction() as database:
            repeated = self._was_submitted(database, submission, image, annotator, digest)
            if not repeated:
                seconds = self._take_label(database, image, annotator, seconds, revise)
                row = (submission, image, annotator, file, digest, seconds, self._clock())
                database.execute("INSERT INTO submissions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                database.execute("INSERT OR REPLACE INTO labels VALUES (?, ?, ?)", (image, annotator, submission))
                # A mask that was settled without this label is not settled any more.
                database.execute("DELETE FROM outcomes WHERE image = ?", (image,))
                detail = {"image": image, "submission": submission, "sha256": digest, "seconds": seconds}
                self._note(database, annotator, "submitted", **detail)
        if not repeated:
            self._settle(image)
        return Receipt(submission, image, annotator, repeated)

    def ask_readers(self, images: Sequence[str], readers: int, asked_by: str) -> None:
        """Have `images` read by `readers` annotators each, those who did so already counted in.

        A mask settled before is open again until they have. Raises CampaignError for fewer readers than there are.
        """
        _check_name(asked_by)
        with self._store.transaction() as database:
            for image in images:
                queries.image(database, image)
                drawn = len(queries.labels(database, image))
                if not max(1, drawn) <= readers <= 100:
                    raise CampaignError(
                        f"readers: {readers} for {image!r}, which {drawn} have read; give that many or more"
                    )
                database.execute("UPDATE images SET readers = ? WHERE id = ?", (readers, image))
                if drawn < readers:
                    database.execute("DELETE FROM outcomes WHERE image = ?", (image,))
            self._note(database, asked_by, "asked for readers", images=list(images), readers=readers)

    def adjudication(self) -> list[Disagreement]:
        """Images whose readers disagree, for a reviewer to decide; those who differ most in front."""
        with self._store.reading() as database:
            return outcomes.disagreements(database, self._store)

    def decide(self, image: str, reviewer: str, choice: str | Path) -> None:
        """Settle a disagreement: `choice` is an annotator's name, `consensus`, or the file of the reviewer's own mask.

        Raises UnknownError where there is no such disagreement or choice, NotAllowedError for one of its readers,
        CampaignError for a file that is no mask of the image's size.
        """
        _check_name(reviewer)
        # Who decides is none of the readers, so the name stands for nobody else's mask.
        whose = reviewer if isinstance(choice, Path) else choice
        own = dict(zip(("file", "sha256"), self._kept(image, choice), strict=True)) if isinstance(choice, Path) else {}
        with self._store.transaction() as database:
            queries.image(database, image)
            drawn = queries.labels(database, image)
            if reviewer in drawn:
                raise NotAllowedError(f"{image}: {reviewer!r} is one of its readers; let somebody else decide")
            outcomes.decide(database, image, reviewer, whose, drawn, own.get("file"))
            self._note(database, reviewer, "decided", image=image, choice=whose, **own)

    def agreed(self) -> list[AgreedLabel]:
        """All settled masks; `validation` says which must not train."""
        with self._store.reading() as database:
            return outcomes.agreed(database, self._store)

    def settled(self, image: str) -> AgreedLabel | None:
        """The settled mask of an image, if it has one."""
        with self._store.reading() as database:
            return next(iter(outcomes.agreed(database, self._store, image)), None)

    def record_model(self, version: str, labels: int, dice: Mapping[str, float], *, accepted: bool = True) -> None:
        """A point of the learning curve: the `dice` of each validation image by a model trained on `labels` labels.

        Raises CampaignError for a version that was recorded before, or a Dice that is none.
        """
        _check_name(version, "version")
        wrong = [image for image, value in dice.items() if not 0 <= value <= 1]
        if wrong or not dice or labels < 0:
            raise CampaignError(f"model {version!r}: needs a Dice of 0 to 1 for each image and a number of labels")
        with self._store.transaction() as database:
            if database.execute("SELECT 1 FROM models WHERE version = ?", (version,)).fetchone():
                raise CampaignError(f"model {version!r}: was recorded before; give each training a name of its own")
            row = (version, labels, accepted, json.dumps(dict(dice)), self._clock())
            database.execute("INSERT INTO models VALUES (?, ?, ?, ?, ?)", row)
            mean = sum(dice.values()) / len(dice)
            self._note(
                database, "campaign", "model measured", version=version, labels=labels, dice=mean, accepted=accepted
            )

    def status(self) -> dict[str, Any]:
        """Counts by state and annotator, times, learning curve, disagreements, head of the audit log; plain JSON."""
        with self._store.reading() as database:
            return status_of(database, self.settings, self._clock())

    def audit(self) -> list[audit.Entry]:
        """The audit log, oldest first, each label's file compared with its entry.

        Raises InputError at the first entry that was changed, or for a label that is missing or not what was submitted.
        """
        with self._store.reading() as database:
            log = list(audit.entries(database))
            files = {row["id"]: row["file"] for row in database.execute("SELECT id, file FROM submissions")}
        for entry in log:
            if "sha256" in entry.detail:
                file = entry.detail.get("file") or files.get(entry.detail["submission"], "missing")
                queries.check_file(self._store, entry.detail, file)
        return log

    def close(self) -> None:
        """Close the data base."""
        self._store.close()

    def _agreed_settings(self, settings: Settings | None) -> Settings:
        """The settings kept with the campaign, with what may change taken from `settings`."""
        with self._store.transaction() as database:
            row = database.execute("SELECT value FROM settings").fetchone()
            kept = Settings(**json.loads(row["value"])) if row else None
            settings = settings or kept or Settings()
            for name in _FIXED if kept else ():
                if getattr(settings, name) != getattr(kept, name):
                    raise InputError(
                        f"{self.folder}: {name} is {getattr(kept, name)} in this campaign and cannot become "
                        f"{getattr(settings, name)}; leave it, or begin another campaign in a new folder"
                    )
            if settings != kept:
                database.execute("DELETE FROM settings")
                database.execute("INSERT INTO settings VALUES (?)", (json.dumps(asdict(settings)),))
                self._note(database, "campaign", "settings", **asdict(settings))
        return settings

    def _kept(self, image: str, label: Path) -> tuple[str, str]:
        """A label's name in the store and its SHA-256. Raises UnknownError or CampaignError, as `submitted`."""
        with self._store.reading() as database:
            picture = queries.image(database, image).path
        try:
            self.read_label(label, picture)
        except InputError as error:
            raise CampaignError(str(error)) from error
        return self._store.keep(label)

    def _note(self, database: sqlite3.Connection, who: str, what: str, **detail: Any) -> None:
        audit.append(database, self._clock(), who, what, **detail)

    def _lease(self, database: sqlite3.Connection, image: str, annotator: str, strategy: str) -> Lease:
        now = self._clock()
        lease = Lease(uuid.uuid4().hex, image, annotator, now + 60 * self.settings.lease_minutes)
        database.execute("DELETE FROM leases WHERE image = ? AND expires <= ?", (image, now))
        row = (lease.id, image, annotator, now, lease.expires)
        database.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?)", row)
        self._note(database, annotator, "leased", image=image, strategy=strategy)
        return lease

    def _extended(self, database: sqlite3.Connection, lease: Lease) -> Lease:
        lease = replace(lease, expires=self._clock() + 60 * self.settings.lease_minutes)
        database.execute("UPDATE leases SET expires = ? WHERE id = ?", (lease.expires, lease.id))
        return lease

    def _lease_of(self, database: sqlite3.Connection, lease: str, annotator: str) -> Lease:
        row = database.execute("SELECT * FROM leases WHERE id = ?", (lease,)).fetchone()
        if row is None:
            raise LeaseLostError(
                f"lease {lease!r}: it ran out and the image has passed on, or its label is in; ask for the next image"
            )
        if row["annotator"] != annotator:
            raise NotAllowedError(f"lease {lease!r}: belongs to another annotator; use your own")
        return Lease(row["id"], row["image"], row["annotator"], row["expires"])

    def _lost(self, database: sqlite3.Connection, image: str, annotator: str) -> LeaseLostError:
        """Why `annotator` may not bring a label of `image`, and what to do."""
        others = queries.others(database, image, annotator, self._clock())
        who = f"it is with {', '.join(others)} now" if others else "it has all the labels it needs"
        return LeaseLostError(
            f"{image}: your lease is gone and {who}; keep your label, ask for the next image, or have a reviewer ask "
            "for one more reader of this one and send it again"
        )

    def _was_submitted(
        self, database: sqlite3.Connection, submission: str, image: str, annotator: str, digest: str
    ) -> bool:
        """Whether this submission came before. Raises CampaignError where its name stands for another label."""
        row = database.execute("SELECT * FROM submissions WHERE id = ?", (submission,)).fetchone()
        if row is None:
            return False
        if (row["image"], row["annotator"], row["sha256"]) != (image, annotator, digest):
            raise CampaignError(f"submission {submission!r}: is the name of another label; give each label its own")
        return True

    def _take_label(
        self, database: sqlite3.Connection, image: str, annotator: str, seconds: float | None, revise: bool
    ) -> float | None:
        """Give up the lease for the label that has come; the seconds of work. Raises as `submitted`."""
        if annotator in queries.labels(database, image):
            if not revise:
                raise LeaseLostError(f"{image}: you have sent its label before; to replace that, submit with revise")
            if queries.was_adjudicated(database, image):
                raise LeaseLostError(f"{image}: a reviewer has decided on its mask; ask for the next image")
            return seconds
        now = self._clock()
        if not queries.free(database, annotator, now, image):
            raise self._lost(database, image, annotator)
        lease = database.execute(
            "SELECT * FROM leases WHERE image = ? AND annotator = ?", (image, annotator)
        ).fetchone()
        database.execute("DELETE FROM leases WHERE image = ? AND annotator = ?", (image, annotator))
        return now - lease["given"] if seconds is None and lease is not None else seconds

    def _settle(self, image: str) -> None:
        """Compare the readers of an image once all of them have drawn, and keep what they agree on."""
        while True:
            with self._store.reading() as database:
                if image not in queries.unsettled(database, image):
                    return
                drawn = queries.labels(database, image)
                picture = queries.image(database, image).path
            outcome = outcomes.compare(drawn, picture, self._store, self.read_label, self.settings.agreement_dice)
            with self._store.transaction() as database:
                # Measuring takes its time; a label that came meanwhile is to be measured with the others.
                if image in queries.unsettled(database, image) and queries.labels(database, image) == drawn:
                    outcomes.enter(database, image, outcome)
                    self._note(
                        database, "campaign", "compared", image=image, chosen=outcome.chosen, dice=outcome.mean_dice
                    )
                    return


def _check_name(name: str, what: str = "annotator") -> None:
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise CampaignError(f"{what}: {name[:40]!r} is no name; give 1 to {_LONGEST_NAME} printable characters")
    if name in _RESERVED:
        raise CampaignError(f"{what}: {name!r} has a meaning of its own here; choose another name")
