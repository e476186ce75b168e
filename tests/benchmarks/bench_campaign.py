"""A whole campaign over HTTP on `ddti`: annotators at a real server, rounds of training, adjudication, export.

Comes in: `LLNM_DATA/ddti`, whose masks are what the simulated annotators draw. Goes out: `table.md`, `rounds.json` and
the exported set in `--out`; the exit code is 1 where the campaign did not end as it should.

What happens. A part of the patients is the study of a real server process with users and roles; the others are not
shown to it and measure the published networks at the end (`test`). The shipped nodule network has seen most of DDTI in
its training, so the server begins with weights that have not (`--conf nodule_weights`): the ImageNet encoder, trained
on simulated views alone. Three annotators, each with a token and in a thread, ask for the next image (`hybrid`), let
the server segment it and compare with the true mask: a proposal with a Dice of `ACCEPTED` or more is submitted as it
is, else the true mask. After each round the admin trains over HTTP and waits. Some images are read by all three; on
one of them an annotator draws beside the nodule, and the reviewer decides by a mask of their own.

What it does not show. Masks of one public set without annotators' errors or time; one seed; a split that hangs on it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "server"), str(REPOSITORY / "tests" / "server")]

from lib.client import AnnotationClient  # noqa: E402
from lib.scoring import dice  # noqa: E402
from server_process import ServerProcess  # noqa: E402

from llnm.imaging import load_mask  # noqa: E402
from llnm.training.data import Item, find_items, split_by_group  # noqa: E402
from llnm.training.measuring import evaluate  # noqa: E402
from llnm.weights import weights_file  # noqa: E402

ANNOTATORS = ("ann", "bob", "cem")
ACCEPTED = 0.85
"""Dice with the truth from which a proposal is submitted as it is."""
SEVERAL = 3
"""Images that all annotators read."""
ROUNDS, LABELS = 4, 20
MOST_TEST = 100
"""Patients who measure the published networks at the end."""
STEPS = ("next", "infer", "submit")
Mask = npt.NDArray[np.bool_]


@dataclass
class Round:
    """What one round saw: seconds of each step; of each proposal its Dice with the truth, and if it was accepted."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    accepted: list[bool] = field(default_factory=list)
    proposals: list[float] = field(default_factory=list)


class Study:
    """`share` of the patients of `ddti` as a study folder below `folder`; `test`: of others, who stay outside of it.

    `shipped`: the patients that the shipped network held back, and nobody else, since it was trained on all others.
    """

    def __init__(self, ddti: Path, folder: Path, share: float, seed: int, shipped: bool) -> None:
        items = find_items(ddti, "nodule")
        patients = sorted({item.group for item in items})
        order = np.random.default_rng(seed).permutation(patients).tolist()
        chosen = set(order[: round(share * len(patients))])
        others = set([patient for patient in order if patient not in chosen][:MOST_TEST])
        if shipped:
            chosen, others = {item.group for item in split_by_group(items, fold=0, folds=5)[1]}, set()
        self.items = {item.image.name: item for item in items if item.group in chosen}
        self.test = [item for item in items if item.group in others]
        self.folder = folder / "study"
        self.folder.mkdir()
        for name, item in self.items.items():
            shutil.copy(item.image, self.folder / name)
        rows = [f"{name},{item.group}" for name, item in self.items.items()]
        (self.folder / "cases.csv").write_text("\n".join(["image,case", *rows]) + "\n", encoding="utf-8")

    def truth(self, image: str, shape: tuple[int, int]) -> Mask:
        """The mask that annotators would draw."""
        return load_mask(self.items[image].label, shape)


def first_weights(folder: Path, views: int, epochs: int) -> Path:
    """Weights that have seen no patient: ImageNet encoder, trained on simulated views."""
    out = folder / "first"
    options = ["--simulated", str(views), "--epochs", str(epochs), "--folds", "1", "--threads", "1", "--out", str(out)]
    subprocess.run([Path(sys.executable).with_name("llnm"), "train", "nodule", *options], check=True)
    return out / "model.pt"


def make_users(folder: Path) -> tuple[Path, dict[str, str]]:
    """The token file, and the tokens by name."""
    file, tokens = folder / "users.json", {}
    for name, role in (*((name, "annotator") for name in ANNOTATORS), ("rob", "reviewer"), ("ada", "admin")):
        command = [sys.executable, "-m", "server", "token", "--name", name, "--role", role, "--tokens", str(file)]
        run = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        tokens[name] = run.stdout.strip()
    return file, tokens


def annotate(client: AnnotationClient, study: Study, until: int, seen: Round, careless: str = "") -> None:
    """One annotator: until the campaign holds `until` labels, or nothing is left. `careless`: drawn wrongly there."""

    def timed(step: str, work: Any, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = work(*arguments, **options)
        seen.seconds[step].append(time.perf_counter() - start)
        return result

    while client.status()["labels"] < until and (sample := timed("next", client.next_image, "hybrid")):
        image = sample["id"]
        found, _ = timed("infer", client.infer, "nodule", image)
        truth = study.truth(image, found.shape[1:])
        overlap = dice(found[0] == 1, truth)
        good = overlap >= ACCEPTED
        mask = found[0] == 1 if good else truth
        if image == careless:
            mask, good = np.roll(truth, truth.shape[1] // 4, axis=1), False
        seen.proposals.append(overlap)
        seen.accepted.append(good)
        timed("submit", client.submit, image, mask.astype(np.uint8), structures=["nodule"])


def work_together(clients: dict[str, AnnotationClient], study: Study, labels: int, careless: str = "") -> Round:
    """All annotators at once until the campaign holds `labels` labels; `careless` is drawn wrongly by the first one."""
    rounds = {name: Round() for name in ANNOTATORS}
    with ThreadPoolExecutor(len(ANNOTATORS)) as threads:
        jobs = [
            threads.submit(annotate, clients[name], study, labels, rounds[name], careless * (name == ANNOTATORS[0]))
            for name in ANNOTATORS
        ]
    for job in jobs:
        job.result()
    both = Round()
    for one in rounds.values():
        both.accepted += one.accepted
        both.proposals += one.proposals
        for step in STEPS:
            both.seconds[step] += one.seconds[step]
    return both


def train(admin: AnnotationClient, epochs: int, learning_rate: float) -> dict[str, Any]:
    """One training over HTTP, to its end."""
    start = time.perf_counter()
    task = admin.train("nodule", epochs=epochs, learning_rate=learning_rate)
    if task["status"] != "DONE":
        raise RuntimeError(f"training: {task['status']}: {task['details'][-1]}")
    return {**task["stats"], "seconds": time.perf_counter() - start}


def adjudicate(reviewer: AnnotationClient, study: Study) -> list[str]:
    """Decide what the readers disagree on, by the reviewer's own mask; the images."""
    found = reviewer.disagreements()
    for entry in found:
        shape = reviewer.image(entry["image"]).GetSize()[1::-1]
        reviewer.decide(entry["image"], study.truth(entry["image"], shape))
    return [entry["image"] for entry in found]


def open_images(reviewer: AnnotationClient, study: Study) -> list[str]:
    """Images that nobody has drawn yet."""
    return [image for image, about in reviewer.images().items() if image in study.items and not about["labels"]]


def run(study: Study, server: ServerProcess, tokens: dict[str, str], options: argparse.Namespace) -> dict[str, Any]:
    """The campaign; gives a record for each round and how it ended."""
    clients = {name: AnnotationClient(server.address, token=token) for name, token in tokens.items()}
    reviewer, admin = clients["rob"], clients["ada"]
    while (status := reviewer.status())["images"] < len(study.items):
        time.sleep(1)
    start = time.perf_counter()
    admin._ask("POST", "/scoring/pool")
    while admin._ask("GET", "/scoring/").json()["status"] in {"SUBMITTED", "RUNNING"}:
        time.sleep(1)
    result: dict[str, Any] = {
        "images": status["images"],
        "validation_images": status["validation_images"],
        "scoring_seconds": time.perf_counter() - start,
        "rounds": [],
    }
    # Validation images come first, so the first round is longer by them.
    aim, careless, decided = status["validation_images"], "", []
    for number in range(1, options.rounds + 1):
        aim += options.labels
        began = time.perf_counter()
        seen = work_together(clients, study, aim, careless)
        seconds = time.perf_counter() - began
        decided += adjudicate(reviewer, study)
        stats = train(admin, options.epochs, options.learning_rate)
        result["rounds"].append(told(number, reviewer, seen, seconds, stats))
        print(json.dumps(result["rounds"][-1]), flush=True)
        careless = ""
        if number == 1:
            several = open_images(reviewer, study)[:SEVERAL]
            reviewer.ask_readers(several, len(ANNOTATORS))
            careless = several[0]
    result["adjudicated"] = decided
    return {**result, **ending(reviewer, options.out)}


def told(number: int, reviewer: AnnotationClient, seen: Round, seconds: float, stats: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    status = reviewer.status()
    return {
        "round": number,
        "labels": status["labels"],
        "trained_on": stats["labels"],
        "judging_images": stats["judging_images"],
        "dice_in_use": stats["dice"]["in use"],
        "dice_new": stats["dice"]["new"],
        "published": stats["published"],
        "version": stats["version"],
        "proposals": len(seen.accepted),
        "accepted": sum(seen.accepted),
        "proposal_dice": float(np.mean(seen.proposals)),
        "annotation_seconds": seconds,
        "training_seconds": stats["seconds"],
        **{f"{step}_seconds": float(np.median(seen.seconds[step])) for step in STEPS},
    }


def ending(reviewer: AnnotationClient, out: Path) -> dict[str, Any]:
    """The agreed set, exported and read as `llnm train` reads it, and the audit log."""
    reviewer.export(out / "campaign.zip")
    with zipfile.ZipFile(out / "campaign.zip") as archive:
        archive.extractall(out)
    log, status = reviewer.audit(), reviewer.status()
    items = find_items(out / "campaign", "nodule")
    table = pd.read_csv(out / "campaign" / "cases.csv")
    return {
        "agreed": status["states"]["agreed"],
        "exported": len(items),
        "exported_patients": len({item.group for item in items}),
        "exported_adjudicated": int(table["adjudicated"].sum()),
        "readers_dice": status["agreement"]["mean_dice"],
        "log_whole": log["whole"],
        "log_entries": len(log["entries"]),
    }


def measure(study: Study, first: Path) -> list[dict[str, Any]]:
    """Dice on the patients that the server never saw, of the first weights and of each published version."""
    models = study.folder / ".llnm" / "models" / "nodule"
    files = [first, *sorted(path / "model.pt" for path in models.iterdir() if path.name.isdigit())]
    rows, before = [], None
    for file in files:
        by_patient = patient_dice(study.test, file)
        row: dict[str, Any] = {"weights": "first" if file == first else file.parent.name, **interval(by_patient)}
        if before is not None:
            row["gain"] = interval(by_patient - before)
        before = by_patient if before is None else before
        rows.append(row)
    return rows


def patient_dice(items: Sequence[Item], weights: Path) -> npt.NDArray[np.floating]:
    """Mean Dice of each patient, in the order of their names."""
    return evaluate("nodule", items, weights).groupby("group")["dice"].mean().sort_index().to_numpy()


def interval(values: npt.NDArray[np.floating]) -> dict[str, float]:
    """Mean and percentile bootstrap over patients."""
    rng = np.random.default_rng(0)
    draws = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return {"dice": float(values.mean()), "low": float(low), "high": float(high), "patients": len(values)}


def markdown(result: dict[str, Any]) -> str:
    """The tables of `server/docs/campaign.md`."""
    lines = [
        "| round | labels (trained on) | Dice before | Dice after training | outcome | accepted as proposed "
        "| mean Dice of the proposals | next, infer, submit (s) | annotating, training (s) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rounds"]:
        outcome = f"published as {row['version']}" if row["published"] else "rolled back"
        steps = ", ".join(f"{row[f'{step}_seconds']:.1f}" for step in STEPS)
        lines.append(
            f"| {row['round']} | {row['labels']} ({row['trained_on']}) | {row['dice_in_use']:.3f} "
            f"| {row['dice_new']:.3f} | {outcome} | {row['accepted']} of {row['proposals']} "
            f"| {row['proposal_dice']:.2f} | {steps} "
            f"| {row['annotation_seconds']:.0f}, {row['training_seconds']:.0f} |"
        )
    if result["test"]:
        lines += ["", "| weights | Dice on patients never shown (95 %) | gain over the first (95 %) |", "|---|---|---|"]
    for row in result["test"]:
        gain = row.get("gain")
        gained = f"{gain['dice']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})" if gain else ""
        lines.append(f"| {row['weights']} | {row['dice']:.3f} ({row['low']:.3f}-{row['high']:.3f}) | {gained} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--labels", type=int, default=LABELS, help="labels of a round, beside validation images")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--share", type=float, default=0.5, help="of the patients that are the server's study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-weights", type=Path, help="weights that have seen no patient; trained else")
    parser.add_argument(
        "--shipped", action="store_true", help="begin with the shipped network, on patients it held back"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    folder, began = Path(tempfile.mkdtemp()), time.perf_counter()
    try:
        study = Study(Path(os.environ["LLNM_DATA"]) / "ddti", folder, options.share, options.seed, options.shipped)
        shipped = weights_file("nodule") if options.shipped else None
        first = shipped or options.first_weights or first_weights(folder, views=100, epochs=8)
        users, tokens = make_users(folder)
        settings = {"models": "nodule", "nodule_weights": str(first), "validation_share": "0.25", "threads": "1"}
        conf = [word for pair in settings.items() for word in ("--conf", *pair)]
        server = ServerProcess(study.folder, options.out / "server.log", ["--tokens", str(users), *conf])
        try:
            result = run(study, server.start(), tokens, options)
        finally:
            server.stop()
        result["test"] = measure(study, first) if study.test else []
        result["minutes"] = (time.perf_counter() - began) / 60
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    (options.out / "rounds.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (options.out / "table.md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    print({name: value for name, value in result.items() if name not in ("rounds", "test")})
    as_it_should = result["log_whole"] and result["exported"] == result["agreed"] and len(result["adjudicated"]) == 1
    return int(not as_it_should)


if __name__ == "__main__":
    sys.exit(main())
