"""The module's logic in one place: what the panel, a script and a test call.

Comes in: a MRML scene, a runner of processes, a clock. Goes out: patients with their images, masks, risk, reasons and
place as nodes of that scene. Nothing here blocks but `Task.wait` and what says so; nothing imports Qt or torch.

Typical script::

    logic = LLNMLogic(scene, ProcessRunner(), SystemClock(), place=Local(python))
    patient = logic.new_patient("P1")
    patient.set_view("transverse", logic.load_image(path, spacing_mm=0.08).node)
    task = logic.start_prediction(patient)
    task.wait()
    print(patient.result["risk"])
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from LLNMLib import (
    atlas_scene,
    batch,
    cine,
    command,
    environment,
    export,
    masks,
    patient_node,
    prediction,
    server_masks,
    ultrasound,
)
from LLNMLib.interfaces import (
    PLANES,
    Clock,
    EnvironmentReport,
    ExportReport,
    LoadedImage,
    Local,
    LogicError,
    Options,
    Place,
    Problem,
    Runner,
    Server,
    logic_error,
)
from LLNMLib.messages import REPAIR
from LLNMLib.patient_node import PatientNode
from LLNMLib.server import LabelServer
from LLNMLib.server_masks import Found
from LLNMLib.tasks import Body, Call, StepTask
from LLNMLib.transaction import transaction


class LLNMLogic:
    """Everything the module does. One object per scene; patients live in the scene, not here."""

    def __init__(self, scene: Any, runner: Runner, clock: Clock, place: Place | None = None) -> None:
        """`scene`: a vtkMRMLScene. `place`: where to compute; may be set later as `logic.place`."""
        self.scene = scene
        self.runner = runner
        self.clock = clock
        self.place = place

    # Patients -----------------------------------------------------------------------------------------------------

    def new_patient(self, name: str = "") -> PatientNode:
        """A new patient in the scene, with a folder of its own; `name` is a pseudonym, "Patient 1" and so on without.

        Raises LogicError for a name that is taken.
        """
        self.scene.SaveStateForUndo()
        return patient_node.add_patient(self.scene, name)

    def patients(self) -> list[PatientNode]:
        """All patients of the scene, in the order in which they came."""
        return patient_node.patients_of(self.scene)

    def remove_patient(self, patient: PatientNode) -> None:
        """Remove a patient and what was computed for it, in one undo step; images that were loaded stay."""
        patient_node.remove(patient)

    # Images -------------------------------------------------------------------------------------------------------

    def load_image(self, path: Path, spacing_mm: float | None = None) -> LoadedImage:
        """Load one image file (DICOM, NRRD, NIfTI, MetaImage, PNG, JPEG, BMP, TIFF) with its calibrated spacing.

        Several frames become a sequence with a browser. `spacing_mm` goes before what the file says. Raises LogicError.
        """
        known = None if spacing_mm is None else ultrasound.check_spacing(spacing_mm)
        return cine.add_image(self.scene, Path(path), known)

    def load_study(self, folder: Path) -> list[LoadedImage]:
        """Load every ultrasound image of a DICOM study's folder, in the order of series and instance numbers.

        What cannot be loaded is skipped and named in the notes of the first one. Raises LogicError if nothing can.
        """
        return cine.add_study(self.scene, Path(folder))

    def calibrate(self, volume_node: Any) -> tuple[str, ...]:
        """Correct the spacing of a volume that was loaded by Slicer itself, from its DICOM file's regions.

        Returns what to tell the user; empty where nothing had to change or no file is known.
        """
        return ultrasound.calibrate(volume_node, ultrasound.file_of(volume_node))

    def set_spacing(self, volume_node: Any, spacing_mm: float) -> None:
        """Give a volume square pixels of `spacing_mm`, as known by hand; one undo step. Raises LogicError."""
        known = ultrasound.check_spacing(spacing_mm)
        self.scene.SaveStateForUndo()
        ultrasound.set_spacing(volume_node, known)

    # Work that takes time: each returns a task to poll ---------------------------------------------------------------

    def start_masks(self, patient: PatientNode, options: Options | None = None) -> StepTask:
        """Outline gland and nodule in the patient's views and show them as segmentations; corrections are replaced.

        On a `Server` place the masks come from there. Raises LogicError where an input is missing.
        """
        chosen = replace(options or Options(), explain="none", atlas=None, masks="none")
        command.check(patient, chosen)
        if isinstance(self.place, Server):
            server = LabelServer(self.place.address, self.place.login)
            return self._task(f"Masks of {patient.name}", lambda task: self._server_masks(task, patient, server))
        python = self._python()
        return self._task(f"Masks of {patient.name}", lambda task: self._masks(patient, chosen, python))

    def start_prediction(self, patient: PatientNode, options: Options | None = None) -> StepTask:
        """Predict the risk; outlines that a person corrected are used as they are (`Options.masks`).

        The results (`patient.result`, segmentations, contributions, heat maps, warnings) go into the scene. A server
        does not offer this, so it is computed on this machine. Raises LogicError where an input is missing.
        """
        chosen = options or Options()
        command.check(patient, chosen)
        python = self._python()
        return self._task(f"Prediction of {patient.name}", lambda task: self._predict(task, patient, chosen, python))

    def start_all(self, patient: PatientNode, options: Options | None = None) -> StepTask:
        """Masks, prediction and, where `options.atlas` is given, the atlas with the nodule, in one task.

        Outlines that a person corrected are kept. The scene changes once, when everything is there.
        """
        chosen = options or Options()
        command.check(patient, chosen)
        python = self._python()
        place = self.place
        server = LabelServer(place.address, place.login) if isinstance(place, Server) else None

        if chosen.atlas is not None:
            atlas_scene.check(chosen.atlas)
        return self._task(
            f"Everything for {patient.name}", lambda task: self._all(task, patient, chosen, python, server)
        )

    def start_cine(self, sequence_node: Any, structure: str = "nodule") -> StepTask:
        """Outline a structure in every frame of a sequence; the masks become a sequence with the same frames.

        The frame with the largest confident section is told in the log and shown. Raises LogicError for a sequence
        that is none of images.
        """
        cine.check(sequence_node, structure)
        python = self._python()

        def body(task: StepTask) -> Body:
            with tempfile.TemporaryDirectory(prefix="LLNM-") as folder:
                scratch = Path(folder)
                run = self.runner.start(cine.segment_command(python, sequence_node, structure, scratch))
                yield run
                for line in cine.put_masks(self.scene, sequence_node, structure, scratch / "masks"):
                    task.tell(line)

        return self._task(f"Masks of {ultrasound.name_of(sequence_node)}", body)

    def start_batch(self, folder: Path, out: Path, options: Options | None = None) -> StepTask:
        """Predict every patient of a folder (see `LLNMLib.batch`) into `out/<patient>`; the scene does not change.

        One patient's failure does not end the batch; `out/batch.csv` has a line for each. Goes on where it stopped.
        Raises LogicError where the folder holds no patient.
        """
        chosen, python = options or Options(), self._python()
        found = batch.find_patients(Path(folder))
        return self._task(
            f"Batch of {len(found)} patients",
            lambda task: batch.run(task, self.runner, python, found, Path(out), chosen),
        )

    # The two places to compute ---------------------------------------------------------------------------------------

    def start_check(self) -> StepTask:
        """Ask `self.place` what it has. The task's `report` is an EnvironmentReport or a ServerReport when it is done.

        A place that is not ready makes the task fail, with the problem; `report` is there as well.
        """
        place = self.place
        if isinstance(place, Server):
            server = LabelServer(place.address, place.login)
            return self._task(f"Check of {place.address}", lambda task: self._check_server(task, server))
        python = self._python()
        return self._task(f"Check of {python}", lambda task: self._check_python(task, python))

    def start_install(self, folder: Path, wheels: Path | None = None, python: Path | None = None) -> StepTask:
        """Make a Python environment in `folder` with llnm: from the folder `wheels`, offline, else from the index.

        `python`: which Python to base it on; the first suitable one of `pythons()` without. When it is done,
        `self.place` is `Local(...)` of the new environment and `report` an EnvironmentReport. Raises LogicError.
        """
        base = python or next(iter(self.pythons()), None)
        if base is None:
            raise logic_error("BadPython", "no Python of 3.10 to 3.13 was found", "install one, or choose its program")
        commands = environment.install_commands(Path(folder), base, wheels)

        def body(task: StepTask) -> Body:
            for number, arguments in enumerate(commands):
                task.part(0.4 * number, 0.4 * (number + 1))
                task.tell("Making the environment" if number == 0 else "Installing llnm")
                yield self.runner.start(arguments)
            task.part(0.8, 1.0)
            made = environment.python_of(Path(folder))
            yield from self._check_python(task, made)
            self.place = Local(made)

        return self._task(f"Environment in {folder}", body)

    def pythons(self) -> list[Path]:
        """Pythons of this computer that llnm can be installed for, best first (blocks for about a second)."""
        return environment.find_pythons()

    # Atlas -----------------------------------------------------------------------------------------------------------

    def show_atlas(self, folder: Path, patient: PatientNode | None = None) -> tuple[str, ...]:
        """Show an atlas folder in 3D (template, risk) with the patient's nodule placed in it; one undo step.

        Returns sentences: region, probability with interval, or why there is no place. Raises LogicError.
        """
        return atlas_scene.show(self.scene, Path(folder), patient)

    # Results ---------------------------------------------------------------------------------------------------------

    def summary(self, patient: PatientNode) -> tuple[str, ...]:
        """The result in sentences: risk with interval, decision, place, what was missing, warnings, the notice."""
        result = patient.result
        return () if result is None else tuple(prediction.sentences(result))

    def show(self, patient: PatientNode) -> None:
        """Make this patient's segmentations, heat maps and nodule visible and hide those of the others."""
        for other in self.patients():
            patient_node.set_visibility(other, other == patient)

    def next_step(self, patient: PatientNode | None) -> tuple[str, str]:  # noqa: PLR0911 - one for each step
        """What to do next: a name (`environment`, `patient`, `views`, `masks`, `prediction`, `export`) and a sentence.

        After a prediction the masks can always be corrected; `prediction` then comes again.
        """
        if self.place is None:
            return "environment", "Choose where to compute: an environment on this machine, or a server."
        if patient is None:
            return "patient", "Make a patient."
        if all(patient.view(plane) is None for plane in PLANES):
            return "views", "Choose the transverse view, the longitudinal view, or both."
        if all(patient.segmentation(plane) is None for plane in PLANES):
            return "masks", "Outline gland and nodule, or run everything at once."
        if patient.result is None:
            return "prediction", "Check the outlines, correct them in Segment Editor if needed, then predict."
        if patient.stale:
            return "prediction", "An outline, image or value has changed since the prediction: predict again."
        return "export", "Read the result; export the report, the masks and the scene."

    def export(self, patient: PatientNode, folder: Path, what: Sequence[str] | None = None) -> ExportReport:
        """Write `report`, `result`, `masks` (PNG and .seg.nrrd) and `scene` (.mrb) of a patient into `folder`.

        `what`: some of these names, and `dicom`, which is written where the installed llnm can; all without. Blocks
        for some seconds. Raises LogicError where nothing can be written.
        """
        python = self.place.python if self.place is not None else None
        return export.export(patient, Path(folder), what, self.runner, python, self.clock)

    def close(self) -> None:
        """End every process that still runs: call it when the module is closed or reloaded."""
        self.runner.cancel_all()

    # Inside ----------------------------------------------------------------------------------------------------------

    def _task(self, title: str, body: Callable[[StepTask], Body]) -> StepTask:
        return StepTask(title, body, self.clock)

    def _python(self) -> Path:
        """The Python that predicts; raises LogicError where there is none."""
        python = None if self.place is None else self.place.python
        if python is None:
            if isinstance(self.place, Server):
                text = f"{self.place.address}: a MONAILabel server gives masks and offers no prediction"
                raise logic_error("NotOffered", text, f"predict on this machine: {REPAIR}")
            raise logic_error("BadPython", "no Python environment with llnm is chosen", REPAIR)
        return python

    def _run(self, patient: PatientNode, options: Options, python: Path, given: Found) -> Any:
        """Run `llnm predict` of a patient; gives what it wrote, and the fingerprint of what it was given.

        `given`: masks from a server, which are not in the scene yet.
        """
        with tempfile.TemporaryDirectory(prefix="LLNM-") as folder:
            scratch = Path(folder)
            arguments = command.predict_command(python, patient, options, scratch, given)
            before = patient.fingerprint(given)
            run = self.runner.start(arguments, command.threads_of(options))
            yield run
            if run.result is None:
                text = f"{python}: the program ended without a result"
                raise logic_error("BadPython", text, f"choose a Python with llnm, or {REPAIR}")
            self._check_present(patient)
            return prediction.read_result_folder(scratch / "result"), before

    def _predict(self, task: StepTask, patient: PatientNode, options: Options, python: Path) -> Body:
        found, inputs = yield from self._run(patient, options, python, {})
        self._show_result(task, patient, found, inputs, {}, None)

    def _all(
        self, task: StepTask, patient: PatientNode, options: Options, python: Path, server: LabelServer | None
    ) -> Body:
        given: Found = {}
        if server is not None:
            task.part(0.0, 0.3)
            given = yield from server_masks.fetch(task, patient, server, keep_corrections=True)
            task.part(0.3, 1.0)
        found, inputs = yield from self._run(patient, options, python, given)
        self._show_result(task, patient, found, inputs, given, options.atlas)

    def _show_result(
        self, task: StepTask, patient: PatientNode, found: Any, inputs: str, given: Found, atlas: Path | None
    ) -> None:
        """Put everything into the scene as one step; what somebody drew in the meantime makes it out of date."""
        with transaction(self.scene):
            prediction.put_into_scene(patient, found, inputs, given)
            if atlas is not None:
                task.log += self.show_atlas(atlas, patient)
        task.log += self.summary(patient)

    def _masks(self, patient: PatientNode, options: Options, python: Path) -> Body:
        found, _ = yield from self._run(patient, options, python, {})
        prediction.put_masks(patient, found.masks, masks.NETWORK)

    def _server_masks(self, task: StepTask, patient: PatientNode, server: LabelServer) -> Body:
        found = yield from server_masks.fetch(task, patient, server, keep_corrections=False)
        self._check_present(patient)
        prediction.put_masks(patient, found, masks.SERVER)

    def _check_present(self, patient: PatientNode) -> None:
        if not patient_node.is_in_scene(patient, self.scene):
            raise logic_error("InputError", f"{patient.name}: the patient was removed", "run again")

    def _check_python(self, task: StepTask, python: Path) -> Body:
        run = self.runner.start(environment.check_command(python))
        try:
            yield run
        except LogicError as error:
            task.report = EnvironmentReport(False, python, problem=error.problem)
            raise
        task.report = environment.report_of(python, run.output)
        _raise_if(task.report.problem)

    def _check_server(self, task: StepTask, server: LabelServer) -> Body:
        call = Call(server.report, f"Asking {server.address}")
        yield call
        task.report = call.value
        _raise_if(call.value.problem)


def _raise_if(problem: Problem | None) -> None:
    if problem is not None:
        raise LogicError(problem)
