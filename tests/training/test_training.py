"""Training on a handful of images and patients: it learns, it goes on where it stopped, it says what it did."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine, Events
from scipy import ndimage

from llnm.cohort import read_patient, read_table
from llnm.errors import InputError
from llnm.training.augmentation import RandElectronicNoised, RandSpeckled, RandTimeGaind, training_transforms
from llnm.training.cohort import disturbed
from llnm.training.data import find_items
from llnm.training.workflow import AveragedWeights, save_weights
from llnm.weights import load_state_dict


def test_train_nodule_writes_weights_record_and_held_back_figures(llnm, few_images, tmp_path):
    out = tmp_path / "run"
    options = ["--data", few_images, "--out", out, "--folds", 4, "--threads", 1]
    code, _, err = llnm("train", "nodule", *options, "--epochs", 1)
    assert code == 0, err
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    held = pd.read_csv(out / "held_back.csv", dtype={"image": str})
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"| {few_images.name} | {len(held)} |" in card
    assert str(tmp_path) not in card
    assert record["training_images"] + len(held) == 8
    assert held["dice"].between(0, 1).all()
    state = torch.load(out / "model.pt", weights_only=True)
    assert all(value.dtype == torch.float16 for value in state.values() if value.ndim > 1)


def test_measuring_weights_again_gives_the_figures_of_their_training(llnm, few_images, tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    split = ["--data", few_images, "--folds", 4, "--fold", 1, "--threads", 1]
    assert llnm("train", "nodule", *split, "--out", run, "--epochs", 1)[0] == 0
    code, _, err = llnm("measure", "nodule", *split, "--weights", run / "model.pt", "--out", again)
    assert code == 0, err
    record = json.loads((again / "measured.json").read_text(encoding="utf-8"))
    trained = json.loads((run / "training.json").read_text(encoding="utf-8"))
    assert record["held_back"] == trained["held_back"]
    pd.testing.assert_frame_equal(pd.read_csv(run / "held_back.csv"), pd.read_csv(again / "held_back.csv"))
    assert llnm("measure", "lobe", *split, "--out", again)[0] == 2
    code, _, err = llnm("measure", "nodule", *split, "--weights", run / "none.pt", "--out", again)
    assert code == 2
    assert "none.pt" in err


def test_saved_weights_give_the_trained_networks_answer_even_with_variances_beyond_half_precision(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    network[1].running_var.copy_(torch.tensor([1e-9, 1.0, 7e4, 4e5]))
    save_weights(network, tmp_path / "model.pt")
    twin = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4))
    twin.load_state_dict(load_state_dict(tmp_path / "model.pt"))
    image = 100 * torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        expected, found = network.eval()(image), twin.eval()(image)
    assert torch.allclose(found, expected, rtol=2e-3, atol=1e-3 * float(expected.abs().max()))


def test_the_mean_of_noisy_steps_lies_nearer_to_the_truth_than_the_last_step_and_forgets_the_start():
    torch.manual_seed(0)
    truth, network = torch.tensor([[1.0, -2.0, 0.5, 3.0]]), torch.nn.Linear(4, 1, bias=False)
    torch.nn.init.constant_(network.weight, 100.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    last, mean = [], []

    def step(engine, batch):
        x = torch.randn(8, 4)
        optimizer.zero_grad()
        (network(x) - x @ truth.T - torch.randn(8, 1)).square().mean().backward()
        optimizer.step()

    trainer, averaged = Engine(step), AveragedWeights(network, steps=40)
    averaged.attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(event_filter=lambda _, step: step >= 200))
    def compare(_):
        last.append(float((network.weight - truth).detach().norm()))
        mean.append(float((averaged.network.weight - truth).detach().norm()))

    trainer.run(range(400))
    assert np.mean(mean) < 0.5 * np.mean(last)
    going_on = AveragedWeights(network, steps=40)
    going_on.average.load_state_dict(averaged.average.state_dict())
    for each in (averaged, going_on):
        each.average.update_parameters(network)
    assert torch.equal(averaged.network.weight, going_on.network.weight)


def test_augmented_image_and_mask_stay_together(few_images):
    """A mask used as its own image must still lie on itself after every random change of place."""
    transforms = training_transforms("nodule")
    transforms.set_random_state(0)
    for item in find_items(few_images, "nodule")[:4]:
        twin = type(item)(item.label, item.label, item.source, item.group)
        sample = transforms({"item": twin})
        image = sample["image"][:1]
        inside, outside = image[sample["label"] > 0.5], image[sample["label"] <= 0.5]
        if inside.numel() > 50:
            assert inside.median() > outside.median() + 0.3


@pytest.mark.parametrize("transform", [RandTimeGaind(prob=1.0), RandSpeckled(prob=1.0), RandElectronicNoised(prob=1.0)])
def test_brightness_changes_keep_black_black_and_the_range(transform):
    transform.set_random_state(1)
    image = torch.rand(1, 40, 50)
    image[:, :, :10] = 0
    changed = transform({"image": image, "label": image})
    assert torch.equal(changed["label"], image)
    assert not torch.equal(changed["image"], image)
    assert (changed["image"][:, :, :10] == 0).all()
    assert changed["image"].min() >= 0
    assert changed["image"].max() <= 1


def test_a_disturbed_outline_differs_by_no_more_than_it_says():
    rows, columns = np.ogrid[:120, :120]
    mask = (rows - 60) ** 2 + (columns - 60) ** 2 <= 30**2
    rng = np.random.default_rng(0)
    radii = [np.sqrt(disturbed(mask, rng).sum() / np.pi) for _ in range(40)]
    assert min(radii) > 30 * 0.86
    assert max(radii) < 30 * 1.14
    assert np.ptp(radii) > 3


def test_a_disturbed_outline_is_where_the_distances_over_the_whole_frame_say():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        field = ndimage.gaussian_filter(rng.normal(size=(90, 120)), rng.uniform(2, 12))
        mask = field > np.quantile(field, rng.uniform(0.1, 0.98))  # many pieces, some cut off by the frame
        by = np.random.default_rng(seed).uniform(-0.12, 0.12) * np.sqrt(mask.sum() / np.pi)
        depth = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
        expected = depth > -by if (depth > -by).any() else mask
        assert np.array_equal(disturbed(mask, np.random.default_rng(seed)), expected)


def test_a_cohort_row_that_cannot_be_used_names_patient_and_column(tmp_path):
    (tmp_path / "cohort.csv").write_text(
        "patient_id,transverse,longitudinal,report,age,sex\nA,,,,40,F\nB,x.png,,,40,F\nC,x.png,,,200,F\n",
        encoding="utf-8",
    )
    table = read_table(tmp_path / "cohort.csv").to_dict("records")
    with pytest.raises(InputError, match="patient A: views"):
        read_patient(table[0], tmp_path)
    with pytest.raises(InputError, match="patient B: .*x.png"):
        read_patient(table[1], tmp_path)
    with pytest.raises(InputError, match="patient C: age"):
        read_patient(table[2], tmp_path)
    (tmp_path / "wrong.csv").write_text("patient_id,age\nA,40\n", encoding="utf-8")
    with pytest.raises(InputError, match="transverse, longitudinal, report, sex"):
        read_table(tmp_path / "wrong.csv")


def test_training_without_data_is_refused(llnm, tmp_path):
    code, _, err = llnm("train", "gland", "--out", tmp_path / "run")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    (tmp_path / "images").mkdir()
    code, _, err = llnm("train", "nodule", "--data", tmp_path, "--out", tmp_path / "run")
    assert code == 2
    assert "nodule/" in err
