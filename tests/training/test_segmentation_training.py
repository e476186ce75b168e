"""Augmentation, loss, quality and the training of segmentation networks as a user starts it."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from interrupted import assert_a_kill_changes_nothing
from scipy import ndimage

from llnm.errors import InputError
from llnm.segmentation.networks import CANVAS
from llnm.segmentation.quality import FIGURES, expected_dice, quality_figures
from llnm.training.augmentation import (
    DEPTH,
    POSITION,
    REACH,
    SHRINK,
    RandDualViewd,
    RandGuidanced,
    RandNoduleSized,
    RandViewpointd,
    family_names,
    training_transforms,
)
from llnm.training.data import CACHE_MARGIN, HeldBack, training_split
from llnm.training.loss import AnnealedFocalDiceLoss
from llnm.training.quality import fit_quality

CACHED = tuple(round(CACHE_MARGIN * side) for side in CANVAS)


def disc(shape, centre, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2).astype(np.float32)


def sample(mask):
    tensor = torch.from_numpy(mask)[None]
    return {"image": tensor.clone(), "label": tensor.clone()}


def test_another_depth_alone_keeps_a_disc_round_and_in_the_middle():
    change = RandViewpointd(position=False, depth=True)
    change.set_random_state(3)
    centre = ((CACHED[0] - 1) / 2, (CACHED[1] - 1) / 2)
    areas = []
    for _ in range(8):
        label = change(sample(disc(CACHED, centre, 70)))["label"][0].numpy()
        rows, columns = np.nonzero(label)
        assert rows.std() == pytest.approx(columns.std(), rel=0.02)
        assert np.allclose([rows.mean(), columns.mean()], [(CANVAS[0] - 1) / 2, (CANVAS[1] - 1) / 2], atol=0.6)
        areas.append(len(rows))
    # Zoomed by 0.8 to 1.8 on the side, from a disc of 70 / CACHE_MARGIN pixels.
    expected = np.pi * (70 / CACHE_MARGIN) ** 2
    assert expected / 1.8**2 * 0.97 < min(areas) < max(areas) < expected / 0.8**2 * 1.03
    assert max(areas) > 1.5 * min(areas)


def test_with_nothing_random_the_view_is_the_cached_image_shrunk():
    change = RandViewpointd(position=False, depth=False)
    mask = disc(CACHED, (60, 200), 30)
    moved = change(sample(mask))["label"][0].numpy()
    expected = ndimage.zoom(mask, np.array(CANVAS) / CACHED, order=1, grid_mode=True, mode="nearest") > 0.5
    assert (moved != expected).mean() < 0.002


def test_a_turned_and_stretched_view_keeps_the_area():
    """Angle, mirror, shift and stretch without zoom: the matrix has determinant one."""
    change = RandViewpointd(position=True, depth=False)
    change.set_random_state(1)
    centre = ((CACHED[0] - 1) / 2, (CACHED[1] - 1) / 2)
    expected = np.pi * (30 / CACHE_MARGIN) ** 2
    for _ in range(6):
        assert change(sample(disc(CACHED, centre, 30)))["label"].sum() == pytest.approx(expected, rel=0.03)


def test_a_click_lies_in_its_component_and_a_box_around_it_and_the_label_is_that_component_alone():
    guide = RandGuidanced(1.0)
    guide.set_random_state(0)
    first, second = disc(CANVAS, (50, 60), 20), disc(CANVAS, (110, 160), 15)
    clicks = boxes = 0
    for _ in range(30):
        out = guide(sample(np.maximum(first, second)))
        channel, label = out["image"][1].numpy(), out["label"][0].numpy()
        assert any(np.array_equal(label, one) for one in (first, second))
        if np.isin(channel, (0, 1)).all():
            boxes += 1
            rows, columns = np.nonzero(label)
            # A side may cut 10 % of the extent off, no more.
            core = channel[rows.min() + 4 : rows.max() - 3, columns.min() + 4 : columns.max() - 3]
            assert core.min() == 1
        else:
            clicks += 1
            assert label[np.unravel_index(channel.argmax(), CANVAS)] == 1
    assert clicks > 5
    assert boxes > 5


def test_a_dual_view_holds_two_windows_of_the_frame_and_of_its_label():
    dual = RandDualViewd(1.0)
    dual.set_random_state(2)
    image = np.tile(np.linspace(0.1, 0.6, CANVAS[1], dtype=np.float32), (CANVAS[0], 1))
    out = dual({"image": torch.from_numpy(image)[None], "label": torch.from_numpy(image)[None]})
    half = CANVAS[1] // 2
    left, right = out["label"][0, 0, :half].numpy(), out["label"][0, 0, half:].numpy()
    assert (np.diff(left) > 0).all(), "the left window runs as the frame does"
    assert (np.diff(right) < 0).all(), "the right one is mirrored"
    assert out["image"].shape == (1, *CANVAS)


def test_each_family_of_augmentation_can_be_left_out_and_no_other_name_is_taken():
    whole = [type(step) for step in training_transforms("nodule").transforms]
    for name in set(family_names()) - {POSITION, DEPTH}:
        assert len(training_transforms("nodule", [name]).transforms) < len(whole), name
    with pytest.raises(InputError, match="no augmentation is called 'colour'"):
        training_transforms("nodule", ["colour"])


def test_the_loss_starts_as_dice_and_cross_entropy_and_ends_focal_with_the_same_sum():
    torch.manual_seed(0)
    logits, label = torch.randn(2, 1, 6, 7), (torch.rand(2, 1, 6, 7) > 0.6).float()
    loss = AnnealedFocalDiceLoss(steps=10)
    probability = torch.sigmoid(logits)
    true = torch.where(label > 0, probability, 1 - probability)
    entropy = -torch.log(true)
    dice = 1 - torch.mean(
        (2 * (probability * label).sum((2, 3)) + 1e-5) / (probability.sum((2, 3)) + label.sum((2, 3)) + 1e-5)
    )
    assert loss(logits, label) == pytest.approx(float(entropy.mean() + dice), abs=1e-5)
    for _ in range(9):
        loss(logits, label)
    # By now all focal: the weights change, the sum of the weighted entropies does not.
    assert loss(logits, label) == pytest.approx(float(entropy.mean() + dice), abs=1e-5)
    free = logits.clone().requires_grad_()
    loss(free, label).backward()
    focal_gradient = free.grad.abs()
    free.grad = None
    AnnealedFocalDiceLoss(steps=10)(free, label).backward()
    easy = true > 0.8
    assert focal_gradient[easy].mean() < free.grad.abs()[easy].mean(), "easy pixels count less"


def test_soft_dice_and_agreement_equal_brute_force():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 5, 6)).astype(np.float32)
    figures = quality_figures(maps, (4, 2))
    mean = [[sum(maps[k, r, c] for k in range(3)) / 3 for c in range(6)] for r in range(5)]
    mask = [[value > 0.5 for value in row] for row in mean]
    inside = sum(m for row in mask for m in row)
    overlap = sum(p for p_row, m_row in zip(mean, mask, strict=True) for p, m in zip(p_row, m_row, strict=True) if m)
    assert figures["soft_dice"] == pytest.approx(2 * overlap / (sum(map(sum, mean)) + inside), rel=1e-5)
    agreements = []
    for one in maps:
        both = sum(one[r, c] > 0.5 and mask[r][c] for r in range(5) for c in range(6))
        agreements.append(2 * both / (sum(v > 0.5 for v in one.ravel()) + inside))
    assert figures["agreement"] == pytest.approx(np.mean(agreements))
    assert figures["largest_share"] == pytest.approx(4 / 6)
    assert set(quality_figures(np.zeros((2, 4, 4), np.float32), ()).values()) == {0.0}


def test_the_fitted_quality_finds_a_line_again_and_is_judged_out_of_fold(tmp_path):
    rng = np.random.default_rng(0)
    true = np.array([0.4, 0.3, 0.1, 0.05, 0.1])
    for fold in range(2):
        figures = rng.random((60, len(FIGURES)))
        table = pd.DataFrame(figures, columns=list(FIGURES))
        table["dice"] = 0.02 + figures @ true
        table["source"], table["group"] = "clinic", [f"{fold}-{index // 2}" for index in range(60)]
        (tmp_path / str(fold)).mkdir()
        table.assign(image=table.index).to_csv(tmp_path / str(fold) / "held_back.csv", index=False)
    record = fit_quality([tmp_path / "0", tmp_path / "1"], tmp_path)
    assert record["rank_correlation"]["value"] > 0.99
    assert record["patients"] == 60
    found = expected_dice(dict(zip(FIGURES, figures[7], strict=True)), tmp_path / "model.pt")
    assert found == pytest.approx(table["dice"][7], abs=0.02)
    assert expected_dice(dict.fromkeys(FIGURES, 0.0), tmp_path / "model.pt") == 0
    with pytest.raises(InputError, match="two folds"):
        fit_quality([tmp_path / "0"], tmp_path)
    with pytest.raises(InputError, match="by several runs"):
        fit_quality([tmp_path / "0", tmp_path / "0"], tmp_path)


def test_a_shrunk_nodule_keeps_its_shape_and_echo_and_the_neck_beyond_it_stays_as_it_was():
    rows, columns = np.mgrid[:200, :260]
    nodule = ((rows - 90) / 30) ** 2 + ((columns - 120) / 20) ** 2 <= 1
    rng = np.random.default_rng(0)
    around = ndimage.gaussian_filter(rng.random(nodule.shape), 4)
    image = np.where(nodule, 0.9, 0.5 * around / around.max()).astype(np.float32)
    pair = {"image": torch.from_numpy(image)[None], "label": torch.from_numpy(nodule.astype(np.float32))[None]}
    shrink = RandNoduleSized(1.0)
    shrink.set_random_state(1)
    areas = []
    for _ in range(6):
        out = shrink(pair)
        label = out["label"][0].numpy() > 0
        areas.append(label.sum() / nodule.sum())
        height, width = (np.ptp(axis) + 1 for axis in np.nonzero(label))
        assert height / width == pytest.approx(1.5, rel=0.1)
        core = ndimage.binary_erosion(label, iterations=2)
        np.testing.assert_allclose(out["image"][0].numpy()[core], 0.9, atol=1e-5)
        radius = np.hypot((rows - 90) / (0.55 * 61), (columns - 120) / (0.55 * 41))
        beyond = radius > REACH
        np.testing.assert_allclose(out["image"][0].numpy()[beyond], image[beyond], atol=1e-4)
    assert SHRINK**2 * 0.9 < min(areas) < max(areas) <= 1.02
    assert max(areas) - min(areas) > 0.2


def test_validation_patients_come_out_of_the_training_ones_and_never_out_of_the_held_back(few_images):
    whole = training_split([str(few_images)], "nodule", held_back=HeldBack(folds=4))
    split = training_split([str(few_images)], "nodule", held_back=HeldBack(folds=4), validation_share=0.34)
    groups = {name: {s["item"].group for s in samples} for name, samples in split.items()}
    assert groups["held_back"] == {s["item"].group for s in whole["held_back"]}
    assert groups["validation"]
    assert not groups["training"] & (groups["validation"] | groups["held_back"])
    with pytest.raises(InputError, match="fold: 4"):
        training_split([str(few_images)], "nodule", held_back=HeldBack(4, folds=4))


def test_a_scanner_that_is_held_out_is_in_no_training_and_each_part_of_a_sweep_gives_one_frame(data):
    folders = [str(data / name) for name in ("ddti", "sweeps")]
    split = training_split(folders, "nodule", held_back=HeldBack(source="sweeps B"), images_per_patient=4)
    frames = pd.read_csv(data / "sweeps" / "frames.csv", dtype=str)
    scanner = dict(zip(frames["image"], frames["scanner"], strict=True))
    trained = [sample["item"] for sample in split["training"]]
    assert {item.source for item in trained} == {"ddti", "sweeps A"}
    assert all(scanner[item.image.stem] == "A" for item in trained if item.source == "sweeps A")
    held_back = [sample["item"] for sample in split["held_back"]]
    assert {scanner[item.image.stem] for item in held_back} == {"B"}
    marked = frames[(frames["scanner"] == "B") & (frames["marked"] == "1")]
    for sweep, rows in marked.groupby("sweep"):
        stems = sorted(item.image.stem for item in held_back if item.group == sweep)
        names = sorted(rows["image"])
        parts = [min(int(4 * names.index(stem) / len(names)), 3) for stem in stems]
        assert parts == list(range(min(4, len(rows)))) or len(rows) < 4
    with pytest.raises(InputError, match="sweeps C.*ddti, sweeps A, sweeps B"):
        training_split(folders, "nodule", held_back=HeldBack(source="sweeps C"))


def train_command(few_images, out, *options):
    words = ["-m", "llnm", "train", "gland", "--data", few_images, "--out", out, "--folds", 4, "--epochs", 4]
    return [sys.executable, *map(str, (*words, "--threads", 1, "--batch", 3, "--seed", 5, *options))]


@pytest.fixture
def few_gland_images(few_images):
    (few_images / "nodule").rename(few_images / "gland")
    return few_images


def test_mlflow_holds_the_loss_of_every_step_and_another_place_is_refused(few_gland_images, tmp_path):
    import mlflow

    place = f"sqlite:///{tmp_path / 'runs.db'}"
    command = train_command(few_gland_images, tmp_path / "run", "--mlflow", place)
    subprocess.run(command, check=True, capture_output=True)
    client = mlflow.MlflowClient(place)
    experiment = client.get_experiment_by_name("thyroid_gland_segmentation")
    (run,) = client.search_runs([experiment.experiment_id])
    losses = client.get_metric_history(run.info.run_id, "train_loss")
    assert run.info.status == "FINISHED"
    assert [loss.step for loss in losses] == list(range(1, 9))
    refused = subprocess.run([*command[:-1], "runs"], check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "sqlite:///FILE" in refused.stderr


def test_a_training_killed_at_a_random_moment_and_resumed_ends_with_the_same_weights(few_gland_images, tmp_path):
    assert_a_kill_changes_nothing(lambda out: train_command(few_gland_images, out), tmp_path, within=2)


def test_two_processes_train_together_and_one_of_them_writes(few_gland_images, tmp_path):
    out = tmp_path / "run"
    words = train_command(few_gland_images, out, "--validation", 0.34)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*launcher, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["validation_images"] > 0
    assert record["held_back"]
    assert done.stdout.count('"training_images"') == 1


def test_a_training_without_data_ends_in_one_line(llnm, tmp_path):
    code, _, err = llnm("train", "nodule", "--out", tmp_path / "run")
    assert code == 2
    assert "nothing to train on" in err
    assert len(err.strip().splitlines()) == 1
