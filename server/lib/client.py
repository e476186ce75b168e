"""A client for scripts: next image, inference, labels, training, review, over the server's REST interface.

Comes in: the server's address and perhaps a token. Goes out: NumPy arrays and plain values. Needs `requests` and
SimpleITK, nothing of the server.

    from lib.client import AnnotationClient

    client = AnnotationClient("http://127.0.0.1:8000", annotator="alice")
    while sample := client.next_image("hybrid"):
        mask, about = client.infer("nodule", sample["id"])       # (frame, row, column), 1 nodule, 2 gland
        client.submit(sample["id"], mask, structures=["nodule"])
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import requests
import SimpleITK as sitk  # noqa: N813

TIMEOUT_S = 900
LabelArray = npt.NDArray[np.uint8]


class ServerError(RuntimeError):
    """The server refused; `status` is its HTTP status, the text its reason."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class AnnotationClient:
    """One annotator at one server. Every method raises ServerError where the server refuses."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        annotator: str | None = None,
        verify: bool | str = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`token`: where the server wants one. `annotator`: the name, where it does not. `verify`: as in requests."""
        self.address, self.annotator, self.timeout_s = address.rstrip("/"), annotator, timeout_s
        self.session = requests.Session()
        self.session.verify = verify
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"
        if annotator:
            self.session.headers["X-Annotator"] = annotator

    def _ask(self, method: str, path: str, **options: Any) -> requests.Response:
        answer = self.session.request(method, f"{self.address}{path}", timeout=self.timeout_s, **options)
        if not answer.ok:
            try:
                text = str(answer.json()["detail"])
            except (ValueError, KeyError, TypeError):
                text = answer.text[:200]
            raise ServerError(answer.status_code, text)
        return answer

    def info(self) -> dict[str, Any]:
        """Models, trainers, strategies and how far training is."""
        return self._ask("GET", "/info/").json()

    def images(self) -> dict[str, Any]:
        """All images by id, with what is known of their labels."""
        return self._ask("GET", "/datastore/", params={"output": "all"}).json()["objects"]

    def next_image(self, strategy: str = "hybrid") -> dict[str, Any]:
        """An image kept for this annotator (`id`, `lease`, `expires_in_s`); empty when nothing is left."""
        return self._ask("POST", f"/activelearning/{strategy}", json={}).json()

    def image(self, image: str) -> sitk.Image:
        """The pixels of an image on its grid."""
        return self._read(self._ask("GET", "/datastore/image", params={"image": image}).content)

    def infer(
        self,
        model: str,
        image: str,
        *,
        point: Sequence[float] | None = None,
        box: Sequence[float] | None = None,
        label: str | None = None,
    ) -> tuple[LabelArray, dict[str, Any]]:
        """(frame, row, column) label values and what is said of them.

        `point` [x, y] and `box` [x0, y0, x1, y1] in pixels, for the model `interactive`.
        """
        given = {"point": point, "box": box, "label": label}
        params = {name: value for name, value in given.items() if value is not None}
        answer = self._ask("POST", f"/infer/{model}", params={"image": image}, data={"params": json.dumps(params)})
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        parts: dict[str, Any] = {
            str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
            for part in BytesParser().parsebytes(head + answer.content).walk()
            if not part.is_multipart()
        }
        return sitk.GetArrayFromImage(self._read(parts["image"])).astype(np.uint8), json.loads(parts["params"])

    def submit(
        self,
        image: str,
        label: LabelArray,
        *,
        structures: Sequence[str],
        seconds: float | None = None,
        submission: str | None = None,
        tag: str = "final",
    ) -> dict[str, Any]:
        """Send a label, (row, column) or (frame, row, column), 1 nodule and 2 gland; on the server's disk on return.

        `structures`: what was drawn, also where nothing was found. `submission`: a name for this label, under which it
        counts once however often it is sent.
        """
        params = {"structures": list(structures), "seconds": seconds, "submission": submission}
        stack = np.asarray(label, dtype=np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "label.nrrd"
            drawn = sitk.GetImageFromArray(stack[None] if stack.ndim == 2 else stack)
            grid = self.image(image)
            if drawn.GetSize() == grid.GetSize():
                drawn.CopyInformation(grid)
            sitk.WriteImage(drawn, str(path), useCompression=True)
            return self.submit_file(
                image, path, {name: value for name, value in params.items() if value is not None}, tag
            )

    def submit_file(
        self, image: str, path: Path, params: Mapping[str, Any] | None = None, tag: str = "final"
    ) -> dict[str, Any]:
        """Send a label file as it is (`.nrrd`, `.seg.nrrd`, `.nii.gz`, `.png`)."""
        with Path(path).open("rb") as file:
            return self._ask(
                "PUT",
                "/datastore/label",
                params={"image": image, "tag": tag},
                data={"params": json.dumps(dict(params or {}))},
                files={"label": (Path(path).name, file)},
            ).json()

    def label(self, image: str, tag: str = "final") -> LabelArray:
        """A stored label, (frame, row, column)."""
        content = self._ask("GET", "/datastore/label", params={"label": image, "tag": tag}).content
        return sitk.GetArrayFromImage(self._read(content)).astype(np.uint8)

    def train(self, model: str, *, wait: bool = True, **settings: Any) -> dict[str, Any]:
        """Start a training (`epochs`, `learning_rate`, `batch_size`, `seed`); with `wait`, until it has ended.

        Gives the task, with `train_stats` of the network under `stats` once it has ended.
        """
        task = self._ask("POST", f"/train/{model}", json=settings).json()
        while wait and task["status"] in {"SUBMITTED", "RUNNING"}:
            time.sleep(1)
            task = self._ask("GET", "/train/").json()
        return {**task, "stats": self.info()["train_stats"][model]}

    def status(self) -> dict[str, Any]:
        """How the campaign stands."""
        return self._ask("GET", "/campaign/status").json()

    def ask_readers(self, images: Sequence[str], readers: int) -> None:
        """Have images read by so many annotators each (reviewers)."""
        self._ask("POST", "/campaign/readers", json={"images": list(images), "readers": readers})

    def disagreements(self) -> list[dict[str, Any]]:
        """Images whose readers differ, with `choices` and the Dice of each pair (reviewers)."""
        return self._ask("GET", "/campaign/adjudication").json()

    def decide(self, image: str, choice: str | npt.NDArray[np.bool_ | np.number[Any]]) -> None:
        """Settle a disagreement by a reader's name, `consensus`, or a mask of one's own (row, column) (reviewers)."""
        if isinstance(choice, str):
            self._ask("POST", "/campaign/adjudication", json={"image": image, "choice": choice})
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mask.nrrd"
            sitk.WriteImage(sitk.GetImageFromArray((choice > 0).astype(np.uint8)), str(path), useCompression=True)
            with path.open("rb") as file:
                self._ask("POST", "/campaign/adjudication/mask", data={"image": image}, files={"label": file})

    def export(self, out: Path) -> None:
        """Write the agreed set as a zip (reviewers)."""
        content = self._ask("GET", "/campaign/export").content
        unfinished = Path(f"{out}.part")
        unfinished.write_bytes(content)
        unfinished.replace(out)

    def audit(self) -> dict[str, Any]:
        """The audit log (`entries`), whether it is `whole`, and the `problem` where it is not (reviewers)."""
        return self._ask("GET", "/campaign/audit").json()

    @staticmethod
    def _read(content: bytes) -> sitk.Image:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.nrrd"
            path.write_bytes(content)
            return sitk.ReadImage(str(path))
