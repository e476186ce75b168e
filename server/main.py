"""The annotation server's MONAILabel app: study folder or PACS, models, trainers, scoring, and the campaign.

Comes in: the app's folder, where the studies are, `--conf` pairs. Goes out: `LLNMApp`, whose methods the routes of
`lib.api` call. Segmentation is `llnm.segmentation`, training `llnm.training`, the campaign `lib.campaign`; here they
are only joined. Start it with `python -m server`, which also keeps the gate (`lib.security`); README.md says how.
"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.configs import ABOUT, APP_NAME, FINAL, ORIGINAL, STRUCTURES, VERSION, read_conf
from lib.images import SourceImage, open_source, read_label, structure_mask
from lib.images.labels import LabelMap, read_stored
from lib.infers import build_tasks
from lib.infers.tasks import overlaid
from lib.orphans import end_with_parent
from lib.scoring import build_scoring
from lib.security.users import check_name
from lib.stores import open_store
from lib.stores.folder import STATE, StudyFolder
from lib.strategies import CampaignStrategy, open_desk
from lib.trainers import FineTune, LabelledImage, Versions
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import ImageNotFoundException
from monailabel.utils.async_tasks.task import AsyncTask

from llnm.case import Structure
from llnm.errors import InputError
from llnm.files import write_mask
from llnm.imaging import load_mask
from llnm.weights import file_sha256

if TYPE_CHECKING:
    from lib.security import User
    from monailabel.interfaces.tasks.infer_v2 import InferTask
    from monailabel.interfaces.tasks.scoring import ScoringMethod
    from monailabel.interfaces.tasks.strategy import Strategy
    from monailabel.interfaces.tasks.train import TrainTask

logger = logging.getLogger(__name__)
INFER_TIMEOUT_S = 600
OFFERED_AT_ONCE = 32
SETTLED = "settled"
"""What a final label's record calls the campaign's mask that it shows, or that was settled when it was drawn."""


class LLNMApp(MONAILabelApp):
    """Annotation of nodules and glands on ultrasound; one instance a process."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self.settings = read_conf(conf)
        self.state = Path(conf["state"]) if "state" in conf else Path(studies) / STATE
        self.versions = Versions(self.state / "models", self.settings.first_weights)
        super().__init__(app_dir, studies, conf, name=APP_NAME, description=ABOUT, version=VERSION)
        from lib.api.sessions import Sessions

        self.sessions = Sessions(self.state / "sessions")
        self.log_file = self.state / "logs" / "server.log"
        self._in_pool: set[str] = set()
        self._pool_lock, self._settling = threading.Lock(), threading.Lock()

    # ---- what MONAILabel asks for

    def init_datastore(self) -> StudyFolder:
        """The study folder, or the PACS behind an address."""
        return open_store(self.studies, self.state)

    def init_infers(self) -> dict[str, InferTask]:
        """The models that `--conf models` names."""
        return build_tasks(self.settings.models, self.versions.current)

    def init_trainers(self) -> dict[str, TrainTask]:
        """A trainer for each network that the models use."""
        return {
            name: FineTune(name, self.versions, self.labelled, self.settings.training, self._tell_campaign)
            for name in self.settings.structures
        }

    def init_strategies(self) -> dict[str, Strategy]:
        """The campaign and its strategies; here, because MONAILabel asks for them once the images are known."""
        self.desk = open_desk(self.state, self.settings.campaign, self.store)
        return {name: CampaignStrategy(self.desk, name) for name in self.desk.names}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """What the strategies go by, and how much annotators had to correct."""
        return build_scoring(self.desk, self.versions)

    def on_init_complete(self) -> None:
        """Clear up after a kill, and offer the images to the campaign without keeping the first request waiting."""
        self.store.recover()
        self.versions.recover()
        threading.Thread(target=self._fill_pool, name="pool", daemon=True).start()

    def _fill_pool(self) -> None:
        self.refresh_pool()
        # What a kill, or work on the campaign's folder while the server was away, has left behind.
        for label in self.desk.agreed(self.desk.structure):
            if label.image in self._in_pool and self._has_final(label.image):
                self.keep_settled(label.image)
        if self.settings.score_at_start and self.desk.unscored():
            AsyncTask.run("scoring", request={"method": "pool"})

    @property
    def store(self) -> StudyFolder:
        """The datastore under its own type."""
        return self._datastore  # type: ignore[return-value]

    @property
    def trainers(self) -> Mapping[str, TrainTask]:
        """Trainers by network."""
        return self._trainers

    @property
    def scoring_methods(self) -> Mapping[str, ScoringMethod]:
        """Scoring methods by name."""
        return self._scoring_methods

    def task(self, model: str) -> InferTask:
        """The task behind a model's name; raises ImageNotFoundException (404) for one that is not offered."""
        if model not in self._infers:
            raise ImageNotFoundException(f"model: {model[:40]!r} is not offered; choose from {', '.join(self._infers)}")
        return self._infers[model]

    def close(self) -> None:
        """End of the process, and of the work that it has started."""
        for kind in ("train", "scoring", "batch_infer"):
            AsyncTask.stop(kind)
        self.desk.close()

    # ---- inference

    def open_file(self, path: Path) -> SourceImage:
        """A file that a client sent, as an image. Raises InputError for a file that cannot be used."""
        return open_source(path)

    def run_model(self, model: str, source: SourceImage, params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Run a model on an image; gives a temporary label file and what is said of it.

        One inference runs at a time (it uses all cores); raises TimeoutError where the queue is too long.
        """
        task, request = self.task(model), {**params, "model": model, "source": source}
        if self._infers_threadpool is None:
            return task(request)
        waiting = self._infers_threadpool.submit(task, request)
        try:
            return waiting.result(INFER_TIMEOUT_S)
        except concurrent.futures.TimeoutError:
            waiting.cancel()
            raise

    def batch_infer(self, request: Mapping[str, Any], datastore: StudyFolder | None = None) -> dict[str, Any]:
        """A model on many images, in a process of its own."""
        end_with_parent()
        return super().batch_infer(request, datastore)

    def scoring(self, request: Mapping[str, Any], datastore: StudyFolder | None = None) -> dict[str, Any]:
        """One scoring method, in a process of its own."""
        end_with_parent()
        self.refresh_pool()
        return self._scoring_methods[request["method"]](request, self.store)

    def infer(self, request: Mapping[str, Any], datastore: StudyFolder | None = None) -> dict[str, Any]:
        """Inference for MONAILabel's batch task: the image by its id alone, the label kept under its tag."""
        store, image = datastore or self.store, request["image"]
        try:
            path, about = self.run_model(request["model"], store.source(image), {})
        except InputError as error:
            logger.warning("%s", error)
            return {"params": {"problem": str(error)}}
        try:
            store.keep_label(image, read_stored(Path(path)), str(request.get("label_tag", ORIGINAL)))
        finally:
            Path(path).unlink(missing_ok=True)
        return {"label": image, "params": about}

    # ---- the campaign

    def refresh_pool(self, wait: bool = True) -> None:
        """Offer images that are new to the campaign. Loops and unreadable files are not offered.

        A first look at thousands of images takes minutes; without `wait` whoever comes meanwhile has those so far.
        """
        if not self._pool_lock.acquire(blocking=wait):
            return
        try:
            new = [image for image in self.store.list_images() if image not in self._in_pool]
            for start in range(0, len(new), OFFERED_AT_ONCE):
                self._in_pool |= self.desk.offer(new[start : start + OFFERED_AT_ONCE])
            self.store.remember()
        finally:
            self._pool_lock.release()

    def next_image(self, strategy: str, params: Mapping[str, Any], sender: User) -> dict[str, Any]:
        """An image kept for the sender, in the form that MONAILabel's clients read; empty when nothing is left."""
        if strategy not in self._strategies:
            known = ", ".join(self._strategies)
            raise ImageNotFoundException(f"strategy: {strategy[:40]!r} is not known; choose from {known}")
        request = {"annotator": annotator_of(sender, params)}
        self.refresh_pool(wait=False)
        lease = self._strategies[strategy](request, self.store)
        if not lease:
            self.refresh_pool()
            lease = self._strategies[strategy](request, self.store)
        if not lease:
            return {}
        copy = self.store.copy_for_annotators(lease["id"])
        return {**self.store.get_image_info(lease["id"]), **lease, "checksum": f"SHA256:{file_sha256(copy)}"}

    def submit_label(self, image: str, path: Path, tag: str, params: dict[str, Any], sender: User) -> dict[str, Any]:
        """Check a label and keep it, a final one in the campaign first; on disk once this returns.

        Raises InputError (409 where the image is somebody else's by now) and ImageNotFoundException.
        """
        source, annotator = self.store.source(image), annotator_of(sender, params)
        info, wanted = params.get("label_info"), params.get("structures")
        if not isinstance(info, list | None) or not isinstance(wanted, list | None):
            raise InputError("label_info, structures: give lists")
        label = read_label(path, source.geometry, info, wanted, asked=(self.desk.structure,))
        record = {"annotator": annotator, "label_info": info or [], "seconds": params.get("seconds")}
        label = replace(label, record=record)
        if tag == FINAL:
            if image not in self._in_pool:  # right after a start the campaign may not have been offered it yet
                self._in_pool |= self.desk.offer([image])
            self._submit_to_campaign(image, label, annotator, params)
            settled = self.desk.settled(image)
            if settled and (settled.chosen == annotator or self.desk.structure not in label.structures):
                label = replace(label, record={**record, SETTLED: settled.label.name})
        self.store.keep_label(image, label, tag)
        if tag == FINAL:
            self.keep_settled(image)
        return {"image": image, "label": image, "structures": list(label.structures), **self.store.sent(image, tag)}

    def _submit_to_campaign(self, image: str, label: LabelMap, annotator: str, params: Mapping[str, Any]) -> None:
        structure, seconds, submission = self.desk.structure, params.get("seconds"), params.get("submission")
        if not self.desk.has(image) or structure not in label.structures:
            return
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
            raise InputError("seconds: give the time at work as a number")
        if submission is not None and (not isinstance(submission, str) or len(submission) > 200):
            raise InputError("submission: give a short text that names this label")
        with tempfile.TemporaryDirectory(prefix="llnm-") as folder:
            mask = Path(folder) / "mask.png"
            write_mask(mask, structure_mask(label, structure)[0])
            self.desk.submit(image, annotator, mask, seconds, submission)

    def keep_settled(self, image: str) -> None:
        """Make the mask that the campaign has settled on the final label, if another one or none is.

        What that label shows of the other structure stays. So 3D Slicer sees what the campaign knows, however it came
        there: by several readers, a reviewer's decision, or `/campaign/labels`.
        """
        with self._settling:
            settled, structure = self.desk.settled(image), self.desk.structure
            if settled is None or image not in self.store.list_images():
                return
            info = self.store.get_label_info(image, FINAL) if self._has_final(image) else {}
            if info.get(SETTLED) == settled.label.name:
                return
            # A file without a record is somebody else's, put there by hand.
            stored = self.store.label(image) if info else None
            grid = self.store.source(image).geometry
            masks = {structure: load_mask(settled.label, grid.shape[1:], may_be_empty=True)[None]}
            if stored is not None:
                for other in stored.structures:
                    masks.setdefault(other, structure_mask(stored, other))
            record = {"annotator": settled.chosen, "readers": list(settled.readers), SETTLED: settled.label.name}
            drawn = tuple(name for name in STRUCTURES if name in masks)
            self.store.keep_label(image, LabelMap(overlaid(masks, grid.shape), drawn, record), FINAL)

    def _has_final(self, image: str) -> bool:
        return FINAL in self.store.get_labels_by_image_id(image)

    # ---- training

    def train(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One training, in a process of its own; what is wrong with its input ends it with one line."""
        end_with_parent()
        try:
            self.refresh_pool()
            record = self._trainers[request["model"]](request, self.store)
            if record["published"] and request["model"] == self.desk.structure:
                # What the new version is unsure of is what the next images are chosen by.
                self._scoring_methods["pool"]({}, self.store)
            return record
        except InputError as error:
            print(f"error: {error}", flush=True)
            raise SystemExit(error.exit_code) from None

    def labelled(self, structure: Structure) -> Sequence[LabelledImage]:
        """What the team has drawn of a structure: the campaign's settled masks, and final labels outside of it."""
        there = set(self.store.list_images())
        agreed = {label.image: label for label in self.desk.agreed(structure) if label.image in there}
        open_in_campaign = self.desk.images(structure) - set(agreed)
        images = []
        for image in self.store.get_labeled_images():
            if image in agreed or image in open_in_campaign:
                continue
            label = self.store.label(image)
            if structure in label.structures:
                mask = structure_mask(label, structure)
                images.append(LabelledImage(image, self.store.source(image), mask, self.store.patient(image)))
        for image, settled in agreed.items():
            source = self.store.source(image)
            mask = load_mask(settled.label, source.geometry.shape[1:], may_be_empty=True)[None]
            images.append(LabelledImage(image, source, mask, settled.patient, judges=settled.validation))
        return sorted(images, key=lambda item: item.image)

    def _tell_campaign(
        self, structure: Structure, version: str, labels: int, dice: Mapping[str, float], published: bool
    ) -> None:
        self.desk.record(structure, f"{structure} {version}", labels, dice, published)


def annotator_of(sender: User, params: Mapping[str, Any]) -> str:
    """The sender's name; without authentication what the client calls itself (3D Slicer: client id) if it does."""
    name = params.get("client_id")
    if not (sender.local and isinstance(name, str) and name.strip()):
        return sender.name
    return check_name(name.strip(), "client_id")


# PyTorch in the server and in a training that it starts: a thread a core at most.
os.environ.setdefault("OMP_NUM_THREADS", "2")
