"""What the bundle of the LLNM network is fed with and what it writes: rows of a cohort table in, a table of risks out.

Comes in: a cohort table (`cohort.table`). Goes out: one examination tensor a patient (`tmdl.packed`), and after the
network `predictions.csv`, in the numbers of `predict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.transforms import MapTransform, Transform

from llnm import NOTICE
from llnm.cohort.table import read_patient, read_table, rows
from llnm.errors import InputError
from llnm.files import write_text
from llnm.pipeline.calibration import Calibration
from llnm.pipeline.risk import load_report_encoder, patient_inputs
from llnm.pipeline.views import MeasuredView, measure_view
from llnm.staging import LEVELS
from llnm.tmdl import TMDLConfig
from llnm.tmdl.network import probabilities_of_levels
from llnm.tmdl.packed import pack
from llnm.weights import metadata

PREDICTIONS = "predictions.csv"


def examinations(cohort: str | Path) -> list[dict[str, Any]]:
    """One item a patient of the table `cohort`: its cells and the folder that its paths are relative to."""
    path = Path(cohort)
    return [{"row": cells, "folder": path.parent} for cells in rows(read_table(path))]


class LoadExamination(Transform):
    """The views, masks, report, age and sex of a row as the network sees them; what is missing is marked absent.

    Masks that the table does not give are drawn by the nodule and gland networks that come with the package.
    """

    def __init__(self, config: TMDLConfig, report_encoder: str | Path, seed: int = 0) -> None:
        self.config, self.report_encoder, self.seed = config, Path(report_encoder), seed

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """`image` (7, 224, 224), `patient_id`, and `label` (1,) where the table has `llnm`.

        Raises InputError that names the patient, where a file cannot be used or no view shows a nodule.
        """
        patient = read_patient(item["row"], item["folder"])
        case = patient.case
        measured = {plane: measure_view(view) for plane, view in sorted(case.views.items())}
        views = {plane: view for plane, view in measured.items() if isinstance(view, MeasuredView)}
        if not views:
            reasons = "; ".join(str(view) for view in measured.values())
            raise InputError(f"patient {case.patient}: no view can be used ({reasons}); give a nodule mask")
        encoder = load_report_encoder(self.report_encoder) if case.report else None
        inputs = patient_inputs(self.config, encoder, case, views, self.seed)
        found: dict[str, Any] = {"image": pack(inputs)[0], "patient_id": case.patient}
        if patient.llnm is not None:
            found["label"] = torch.tensor([float(patient.llnm)])
        return found


class Calibrated(MapTransform):
    """Logits (K,) of the network -> probabilities (K,): of metastasis, calibrated, and of each level given metastasis.

    `calibration`: a file that `llnm calibrate` or the training wrote; without such a file the sigmoid stands.
    """

    def __init__(self, keys: str, calibration: str | Path) -> None:
        super().__init__(keys)
        path = Path(calibration)
        self.calibration = Calibration.from_file(path) if path.is_file() else Calibration()

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """`data` with probabilities in the place of logits."""
        found = dict(data)
        for key in self.key_iterator(found):
            logits = torch.as_tensor(found[key]).double().cpu()
            risk = torch.from_numpy(self.calibration(logits[:1].numpy()))
            levels = probabilities_of_levels(logits[None, 1:])[0]
            found[key] = torch.cat([risk, levels]) if len(logits) > 1 else risk
        return found


class WritePredictions:
    """Handler of an evaluator: `predictions.csv` in `folder` at the end, one row a patient, whole or not at all."""

    def __init__(self, folder: str | Path, bundle_root: str | Path) -> None:
        self.folder = Path(folder)
        weights = metadata("llnm", Path(bundle_root).resolve().parent)["weights"]
        simulated = " Weights trained on simulated patients." if weights["trained_on_simulated_patients"] else ""
        self.note = f"{NOTICE}{simulated}"
        self.lines: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.STARTED, self.lines.clear)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _collect(self, engine: Engine) -> None:
        for item, found in zip(engine.state.batch, engine.state.output, strict=True):
            risk, *levels = found["pred"].tolist()
            about: dict[str, Any] = {"patient_id": item["patient_id"], "probability": round(risk, 6)}
            about |= {f"level_{name}": round(chance, 6) for name, chance in zip(LEVELS, levels, strict=False)}
            self.lines.append(about | {"note": self.note})

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / PREDICTIONS, pd.DataFrame(self.lines).to_csv(index=False))
