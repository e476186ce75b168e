"""Who trains and who judges, and versions that are there whole or not at all."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lib.configs import TrainingSettings, read_conf
from lib.images.frames import Geometry, SourceImage
from lib.trainers import FineTune, LabelledImage, Versions
from lib.trainers.finetune import changed_settings, split

from llnm.errors import InputError
from llnm.weights import weights_file


def labelled(number, patient, drawn=True, judges=False):
    mask = np.full((1, 4, 4), drawn)
    source = SourceImage(Path(f"{number}.png"), Geometry((1, 4, 4)), False)
    return LabelledImage(f"{number}.png", source, mask, patient, judges)


def test_a_patient_trains_or_judges_and_never_both_even_as_patients_come():
    judged, trained = set(), set()
    for count in range(2, 80):
        training, judging = split([labelled(n, f"p{n // 2}") for n in range(2 * count)], 0.25)
        assert training and judging
        assert not {item.patient for item in training} & {item.patient for item in judging}
        if count >= 20:
            trained |= {item.patient for item in training}
            judged |= {item.patient for item in judging}
    assert not judged & trained
    assert 0.1 < len(judged) / 79 < 0.4


def test_where_the_campaign_names_judges_only_they_judge():
    images = [labelled(n, f"p{n}", judges=n % 5 == 0) for n in range(20)]
    training, judging = split(images, 0.25)
    assert {item.image for item in judging} == {f"{n}.png" for n in range(0, 20, 5)} and len(training) == 16


def test_an_image_without_the_structure_teaches_and_judges_nothing():
    training, judging = split([labelled(n, f"p{n}", drawn=n < 4) for n in range(8)], 0.25)
    assert len(training) + len(judging) == 4


@pytest.mark.parametrize("images", [[], [labelled(0, "p0")], [labelled(0, "p0"), labelled(1, "p0")]])
def test_one_patient_is_too_few(images):
    with pytest.raises(InputError, match="two patients"):
        split(images, 0.25)


@pytest.mark.parametrize(
    "request_", [{"epochs": 0}, {"epochs": 2.5}, {"epochs": True}, {"learning_rate": "1"}, {"seed": -1}]
)
def test_settings_outside_the_limits_are_refused(request_):
    with pytest.raises(InputError, match=next(iter(request_))):
        changed_settings(TrainingSettings(), request_)


def test_patients_who_all_judge_teach_nothing_and_the_message_says_so():
    with pytest.raises(InputError, match="all 2 patients labelled so far judge"):
        split([labelled(n, f"p{n}", judges=True) for n in range(2)], 0.25)


def finished(versions, value):
    """A finished training in its work folder."""
    with versions.training("nodule") as work:
        run = work / "run"
        run.mkdir()
        torch.save({"w": torch.full((3,), value)}, run / "model.pt")
        return versions.publish("nodule", run, {"value": value})


def test_the_version_in_use_is_the_last_whole_one(tmp_path):
    versions = Versions(tmp_path)
    assert versions.current("nodule") is None and versions.number("nodule") == "shipped"
    assert [finished(versions, 1.0), finished(versions, 2.0)] == ["0001", "0002"]
    assert versions.number("nodule") == "0002"
    # As after a disk error: the version before it serves.
    (tmp_path / "nodule" / "0002" / "model.pt").write_bytes(b"damaged")
    assert Versions(tmp_path).number("nodule") == "0001"
    # A version without the pointer is one that a kill cut off before it was published.
    (tmp_path / "nodule" / "current.json").write_text(json.dumps({"version": "0001"}))
    assert Versions(tmp_path).number("nodule") == "0001"
    (tmp_path / "nodule" / "current.json").write_text("{half")
    assert Versions(tmp_path).number("nodule") == "shipped"


def test_a_campaign_may_begin_with_weights_of_its_own_and_falls_back_on_them(tmp_path):
    first = tmp_path / "first.pt"
    torch.save({"w": torch.zeros(3)}, first)
    settings = read_conf({"nodule_weights": str(first)})
    versions = Versions(tmp_path / "models", settings.first_weights)
    assert versions.current("nodule") == versions.first("nodule") == first and versions.number("nodule") == "first"
    assert versions.current("gland") is None and versions.first("gland") == weights_file("gland")
    finished(versions, 1.0)
    assert versions.number("nodule") == "0001" and versions.first("nodule") == first
    (tmp_path / "models" / "nodule" / "0001" / "model.pt").write_bytes(b"damaged")
    assert Versions(tmp_path / "models", settings.first_weights).current("nodule") == first
    with pytest.raises(InputError, match="nowhere.pt: there is no such file"):
        read_conf({"gland_weights": "/nowhere.pt"})


def test_first_weights_are_what_segments_until_there_are_better_ones_and_what_training_starts_from(
    study, simulated_study, tmp_path
):
    """Weights that find nothing: the network in use finds nothing, and what is trained from them is no shipped one."""
    from lib.images import open_source
    from lib.infers import build_tasks
    from PIL import Image

    state = torch.load(weights_file("nodule"), weights_only=True)
    blind = {name: torch.zeros_like(value) if name.startswith("head") else value for name, value in state.items()}
    blind["head.1.preconv.bias"] -= 10
    torch.save(blind, tmp_path / "first.pt")
    versions = Versions(tmp_path / "models", {"nodule": tmp_path / "first.pt"})
    source = open_source(study / "P1_transverse.png")
    path, about = build_tasks(("nodule",), versions.current)["nodule"]({"source": source})
    Path(path).unlink()
    assert about["label_names"] == {} and not about["found"]["nodule"]["found"]

    def gather(structure):
        folder = simulated_study.parent / "masks"
        for name in ("P1_transverse", "P2_transverse"):
            mask = np.asarray(Image.open(folder / f"{name}_{structure}.png")) > 0
            yield LabelledImage(name, open_source(study / f"{name}.png"), mask[None], name[:2], name.startswith("P1"))

    trainer = FineTune("nodule", versions, lambda structure: list(gather(structure)), TrainingSettings(epochs=1))
    record = trainer({"model": "nodule"}, None)
    assert record["compared_with"] == "first" and record["dice"]["in use"] == 0


def publish_for_ever(folder):
    """Publish one version after the other until killed."""
    versions = Versions(Path(folder))
    for value in range(100_000):
        finished(versions, float(value))


def test_a_kill_at_any_moment_of_publishing_leaves_a_whole_version(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(12):
        child = context.Process(target=publish_for_ever, args=(str(tmp_path),))
        child.start()
        time.sleep(0.15 + 0.013 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        versions = Versions(tmp_path)
        weights = versions.current("nodule")
        if weights is not None:
            record = json.loads((weights.parent / "version.json").read_text())
            assert float(torch.load(weights, weights_only=True)["w"][0]) == record["value"]
    assert versions.current("nodule") is not None


def test_two_trainings_of_one_network_do_not_run_at_once(tmp_path):
    first, second = Versions(tmp_path), Versions(tmp_path)
    with first.training("nodule"), pytest.raises(InputError, match="running"), second.training("nodule"):
        pass
    with second.training("gland"):
        pass


def test_weights_that_are_worse_are_not_published(study, simulated_study, tmp_path, monkeypatch):
    """Trained on masks that are wrong, the network gets worse on patients whose masks are right: rolled back."""
    from lib.images import open_source
    from PIL import Image

    def gather(structure):
        images = []
        for path in sorted(study.glob("P[12]*.png")):
            mask = np.asarray(Image.open(simulated_study.parent / "masks" / f"{path.stem}_{structure}.png")) > 0
            judges = path.name.startswith("P1")
            wrong = np.zeros_like(mask)
            wrong[: mask.shape[0] // 5, : mask.shape[1] // 5] = True
            drawn = mask if judges else wrong
            images.append(LabelledImage(path.name, open_source(path), drawn[None], path.name[:2], judges))
        return images

    told = []
    versions = Versions(tmp_path / "models")
    settings = TrainingSettings(epochs=2, learning_rate=0.02, encoder_rate=1.0, batch_size=2)
    trainer = FineTune("nodule", versions, gather, settings, lambda *about: told.append(about))
    record = trainer({"model": "nodule"}, None)
    assert record["dice"]["new"] < record["dice"]["in use"] and not record["published"]
    assert versions.current("nodule") is None and trainer.stats()["status"] == "rolled back"
    (structure, version, labels, dice, published) = told[0]
    assert (structure, labels, published) == ("nodule", 2, False) and version.startswith("rolled back")
    assert set(dice) == {"P1_transverse.png", "P1_longitudinal.png"}
