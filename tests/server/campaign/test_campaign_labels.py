"""What becomes of a label: taken once, kept, compared, decided on, exported and logged."""

import csv
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from lib.campaign import CONSENSUS, Campaign, CampaignError, LeaseLostError, NotAllowedError, UnknownError
from lib.campaign.agreement import consensus, dice, pairwise_dice
from lib.campaign.export import export_agreed
from PIL import Image

from llnm.errors import InputError
from llnm.evaluation.masks import mask_metrics
from llnm.imaging import load_mask
from llnm.training.data import HeldBack, find_items, training_split


def annotate(campaign, study, annotator, shift=0):
    lease = campaign.next_images(annotator, "random")[0]
    campaign.submitted(lease.image, annotator, study.drawn(lease.image, shift))
    return lease.image


def disagree(campaign, study):
    """An image of which two readers drew masks that hardly overlap."""
    image = annotate(campaign, study, "ann")
    campaign.ask_readers([image], 2, "reviewer")
    assert annotate(campaign, study, "bob", shift=60) == image
    return image


def disc(radius, column=50, size=100):
    rows, columns = np.mgrid[:size, :size]
    return (rows - size // 2) ** 2 + (columns - column) ** 2 <= radius**2


def test_a_submission_sent_twice_counts_once(campaign, study):
    lease = campaign.next_images("ann", "random")[0]
    first = campaign.submitted(lease.image, "ann", study.mask(lease.image), 12.5, submission="s1")
    again = campaign.submitted(lease.image, "ann", study.mask(lease.image), 12.5, submission="s1")
    assert (first.repeated, again.repeated) == (False, True)
    assert campaign.status()["labels"] == 1
    assert [entry.what for entry in campaign.audit()].count("submitted") == 1


def test_the_same_label_without_a_name_counts_once_too(campaign, study):
    image = campaign.next_images("ann", "random")[0].image
    assert [campaign.submitted(image, "ann", study.mask(image)).repeated for _ in range(2)] == [False, True]


def test_a_name_cannot_stand_for_two_labels(campaign, study):
    one, two = (lease.image for lease in campaign.next_images("ann", "random", 2))
    campaign.submitted(one, "ann", study.mask(one), submission="s1")
    with pytest.raises(CampaignError, match="give each label its own"):
        campaign.submitted(two, "ann", study.mask(two), submission="s1")


def test_a_second_label_replaces_the_first_only_on_request_and_both_are_kept(campaign, study):
    image = annotate(campaign, study, "ann")
    with pytest.raises(LeaseLostError, match="submit with revise"):
        campaign.submitted(image, "ann", study.drawn(image, 2))
    campaign.submitted(image, "ann", study.drawn(image, 2), revise=True)
    (agreed,) = campaign.agreed()
    assert agreed.label.read_bytes() == study.drawn(image, 2).read_bytes()
    assert campaign.status()["labels"] == 1
    assert len(list((campaign.folder / "labels").iterdir())) == 2


def test_a_label_for_an_image_nobody_holds_is_taken_without_a_lease(campaign, study):
    campaign.submitted(study.names[3], "ann", study.mask(study.names[3]))
    assert campaign.status()["states"]["agreed"] == 1


def test_a_label_for_an_image_in_somebody_elses_work_is_refused(campaign, study):
    lease = campaign.next_images("ann", "random")[0]
    with pytest.raises(LeaseLostError, match="it is with ann now"):
        campaign.submitted(lease.image, "bob", study.mask(lease.image))


def test_a_mask_of_another_size_and_a_file_that_is_none_are_refused(campaign, study, tmp_path):
    image = campaign.next_images("ann", "random")[0].image
    Image.fromarray(np.full((130, 130), 255, np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(CampaignError, match="draw it on the same image"):
        campaign.submitted(image, "ann", tmp_path / "small.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    with pytest.raises(CampaignError, match=r"none\.png"):
        campaign.submitted(image, "ann", tmp_path / "none.png")
    with pytest.raises(UnknownError, match="not in the pool"):
        campaign.submitted("elsewhere", "ann", study.mask(image))
    with pytest.raises(CampaignError, match="seconds"):
        campaign.submitted(image, "ann", study.mask(image), float("nan"))
    assert campaign.status()["labels"] == 0


def test_the_time_at_work_is_the_clients_or_from_lease_to_label(campaign, study, clock):
    annotate_seconds = []
    for told in (None, 20.0, None):
        image = campaign.next_images("ann", "random")[0].image
        clock.pass_minutes(2)
        campaign.submitted(image, "ann", study.mask(image), told)
        annotate_seconds.append(120.0 if told is None else told)
    assert campaign.status()["seconds"] == {
        "median": 120.0,
        "quartiles": [70.0, 120.0],
        "total": sum(annotate_seconds),
        "labels": 3,
    }


def test_readers_who_agree_give_a_consensus_and_no_work_for_a_reviewer(campaign, study):
    image = annotate(campaign, study, "ann")
    campaign.ask_readers([image], 3, "reviewer")
    assert campaign.status()["states"]["waiting for readers"] == 1
    assert annotate(campaign, study, "bob", shift=1) == image
    assert annotate(campaign, study, "cem", shift=-1) == image
    (agreed,) = campaign.agreed()
    assert agreed.readers == ("ann", "bob", "cem")
    assert not agreed.adjudicated
    truth = np.asarray(Image.open(study.mask(image))) > 0
    assert dice(load_mask(agreed.label, truth.shape), truth) > 0.97
    assert campaign.adjudication() == []


def test_an_image_asked_for_by_several_never_comes_twice_to_the_same_reader(campaign, study):
    image = annotate(campaign, study, "ann")
    campaign.ask_readers([image], 2, "reviewer")
    assert campaign.next_images("ann", "random")[0].image != image
    assert campaign.next_images("bob", "random")[0].image == image
    assert campaign.next_images("cem", "random")[0].image != image


def test_readers_who_disagree_wait_for_somebody_who_is_none_of_them(campaign, study):
    image = disagree(campaign, study)
    (found,) = campaign.adjudication()
    assert (found.image, list(found.labels)) == (image, ["ann", "bob"])
    assert found.dice["ann", "bob"] < 0.8
    assert campaign.agreed() == []
    with pytest.raises(NotAllowedError, match="let somebody else decide"):
        campaign.decide(image, "ann", "ann")
    with pytest.raises(UnknownError, match="choose ann, bob or consensus"):
        campaign.decide(image, "reviewer", "dora")
    campaign.decide(image, "reviewer", "ann")
    (agreed,) = campaign.agreed()
    assert agreed.adjudicated
    assert agreed.label.read_bytes() == study.drawn(image).read_bytes()
    with pytest.raises(UnknownError, match="do not wait for a decision"):
        campaign.decide(image, "reviewer", CONSENSUS)


def test_a_reviewer_who_takes_nobodys_mask_draws_one_that_counts_is_exported_and_watched(campaign, study, tmp_path):
    image = disagree(campaign, study)
    own = study.drawn(image, 4, grow=3)
    campaign.decide(image, "reviewer", own)
    (agreed,) = campaign.agreed()
    assert (agreed.adjudicated, agreed.readers) == (True, ("ann", "bob"))
    assert agreed.label.read_bytes() == own.read_bytes()
    export_agreed(campaign, tmp_path / "out")
    (item,) = find_items(tmp_path / "out", "nodule")
    drawn = np.asarray(Image.open(own)) > 0
    assert np.array_equal(load_mask(item.label, drawn.shape), drawn)
    last = campaign.audit()[-1]
    assert (last.who, last.what, last.detail["choice"]) == ("reviewer", "decided", "reviewer")
    agreed.label.write_bytes(study.mask(study.names[5]).read_bytes())
    with pytest.raises(InputError, match="is not what was submitted"):
        campaign.audit()


def test_a_mask_of_a_reviewers_own_is_for_disagreements_alone_of_the_images_size_and_not_from_a_reader(
    campaign, study, tmp_path
):
    image = disagree(campaign, study)
    with pytest.raises(NotAllowedError, match="let somebody else decide"):
        campaign.decide(image, "ann", study.mask(image))
    Image.fromarray(np.full((130, 130), 255, np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(CampaignError, match="draw it on the same image"):
        campaign.decide(image, "reviewer", tmp_path / "small.png")
    other = next(name for name in study.names if name != image)
    with pytest.raises(UnknownError, match="do not wait for a decision"):
        campaign.decide(other, "reviewer", study.mask(other))
    assert [found.image for found in campaign.adjudication()] == [image]


def test_what_a_reviewer_decided_is_not_changed_by_a_reader(campaign, study):
    image = disagree(campaign, study)
    campaign.decide(image, "reviewer", CONSENSUS)
    with pytest.raises(LeaseLostError, match="a reviewer has decided"):
        campaign.submitted(image, "ann", study.drawn(image, 3), revise=True)


def test_a_label_revised_until_the_readers_agree_leaves_the_queue(campaign, study):
    image = disagree(campaign, study)
    campaign.submitted(image, "bob", study.drawn(image, 1), revise=True)
    assert campaign.adjudication() == []
    assert [label.image for label in campaign.agreed()] == [image]


def test_two_readers_who_find_nothing_agree(campaign, study, tmp_path):
    image = study.names[0]
    blank = tmp_path / "blank.png"
    Image.fromarray(np.zeros_like(np.asarray(Image.open(study.mask(image))))).save(blank)
    campaign.ask_readers([image], 2, "reviewer")
    for name in ("ann", "bob"):
        campaign.submitted(image, name, blank)
    (agreed,) = campaign.agreed()
    assert agreed.dice == 1.0


def test_labels_compared_after_a_process_ended_before_it_could(campaign, study, clock):
    image = disagree(campaign, study)
    campaign.close()
    database = sqlite3.connect(campaign.folder / "campaign.sqlite")
    database.execute("DELETE FROM outcomes")
    database.commit()
    database.close()
    again = Campaign(campaign.folder, clock=clock)
    assert [found.image for found in again.adjudication()] == [image]
    again.close()


def test_dice_between_readers_is_that_of_the_evaluation():
    masks = {"a": disc(20), "b": disc(20, 58), "c": disc(12)}
    for (first, second), value in pairwise_dice(masks).items():
        assert value == pytest.approx(mask_metrics(masks[first], masks[second])["dice"], abs=1e-6)


def test_the_consensus_of_three_readers_leaves_out_what_one_of_them_alone_drew():
    wrong = disc(20) | disc(6, 90)
    found = consensus({"a": disc(20), "b": disc(20), "c": wrong})
    assert dice(found, disc(20)) > 0.99
    assert not (found & disc(6, 90)).any()


def test_the_consensus_does_not_hang_on_the_order_of_readers_or_the_size_of_the_frame():
    masks = [disc(20, 48), disc(21, 50), disc(18, 53)]
    one = consensus(dict(zip("abc", masks, strict=True)))
    other = consensus(dict(zip("cab", masks, strict=True)))
    wide = consensus(dict(zip("abc", [np.pad(mask, 400) for mask in masks], strict=True)))
    assert np.array_equal(one, other)
    assert np.array_equal(np.pad(one, 400), wide)


def test_the_consensus_where_most_found_nothing_is_nothing():
    nothing = np.zeros((100, 100), bool)
    assert not consensus({"a": nothing, "b": nothing, "c": disc(10)}).any()


def test_the_export_trains_with_patients_apart_and_masks_as_drawn(campaign, study, tmp_path):
    for n in range(10):
        annotate(campaign, study, f"a{n}")
    image = next(name for name in study.names if name not in {label.image for label in campaign.agreed()})
    blank = np.zeros_like(np.asarray(Image.open(study.mask(image))))
    Image.fromarray(blank).save(tmp_path / "blank.png")
    campaign.submitted(image, "ann", tmp_path / "blank.png")
    assert export_agreed(campaign, tmp_path / "out") == 10
    items = find_items(tmp_path / "out", "nodule")
    assert {item.group for item in items} == {label.patient for label in campaign.agreed() if label.image != image}
    for item in items:
        truth = np.asarray(Image.open(study.mask(item.image.stem.replace("_", "-")))) > 0
        assert np.array_equal(load_mask(item.label, truth.shape), truth)
    with (tmp_path / "out" / "cases.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    for fold in range(5):
        split = training_split(str(tmp_path / "out"), "nodule", held_back=HeldBack(fold, 5))
        held = {sample["item"].image.stem for sample in split["held_back"]}
        assert held == {name for name, row in rows.items() if row["fold"] == str(fold)}
    assert (tmp_path / "out" / "left_out.csv").read_text().splitlines()[1:] == [f"{image},no nodule was found on it"]
    with pytest.raises(CampaignError, match="is there already"):
        export_agreed(campaign, tmp_path / "out")


def test_labels_with_geometry_are_read_as_the_image_lies(campaign, study, tmp_path):
    image = study.names[1]
    mask = (np.asarray(Image.open(study.mask(image))) > 0).astype(np.uint8)
    label = sitk.GetImageFromArray(mask)
    label.SetSpacing((0.07, 0.07))
    sitk.WriteImage(label, str(tmp_path / "label.nrrd"))
    campaign.submitted(image, "ann", tmp_path / "label.nrrd")
    assert np.array_equal(load_mask(campaign.agreed()[0].label, mask.shape), mask > 0)


def test_the_learning_curve_has_an_interval_over_patients_and_says_what_was_refused(campaign, study):
    for number, dice_of in enumerate((0.5, 0.6, 0.55)):
        values = {name: dice_of + 0.01 * (n % 5) for n, name in enumerate(study.names)}
        campaign.record_model(f"v{number}", 10 * number, values, accepted=number != 2)
    curve = campaign.status()["curve"]
    assert [point["labels"] for point in curve] == [0, 10, 20]
    assert [point["accepted"] for point in curve] == [True, True, False]
    assert {point["patients"] for point in curve} == {12}
    assert all(point["dice"]["low"] < point["dice"]["value"] < point["dice"]["high"] for point in curve)
    with pytest.raises(CampaignError, match="recorded before"):
        campaign.record_model("v1", 3, {"a": 0.3})
    with pytest.raises(CampaignError, match="Dice of 0 to 1"):
        campaign.record_model("v9", 3, {"a": float("nan")})


def test_the_log_tells_of_everything_in_order(campaign, study):
    image = disagree(campaign, study)
    campaign.decide(image, "reviewer", "bob")
    told = [(entry.who, entry.what) for entry in campaign.audit()]
    assert told == [
        ("campaign", "settings"),
        ("campaign", "images added"),
        ("ann", "leased"),
        ("ann", "submitted"),
        ("campaign", "compared"),
        ("reviewer", "asked for readers"),
        ("bob", "leased"),
        ("bob", "submitted"),
        ("campaign", "compared"),
        ("reviewer", "decided"),
    ]


@pytest.mark.parametrize("tampered", [("who", "eve"), ("at", "2020-01-01"), ("detail", "{}"), ("what", "leased")])
def test_a_changed_entry_of_the_log_is_found(campaign, study, tampered):
    annotate(campaign, study, "ann")
    column, value = tampered
    database = sqlite3.connect(campaign.folder / "campaign.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        database.execute(f"UPDATE audit SET {column} = ? WHERE n = 4", (value,))
    database.execute("DROP TRIGGER audit_is_not_changed")
    database.execute(f"UPDATE audit SET {column} = ? WHERE n = 4", (value,))
    database.commit()
    with pytest.raises(InputError, match="entry 4 was changed"):
        campaign.audit()
    database.close()


def test_an_entry_taken_out_of_the_log_is_found(campaign, study):
    annotate(campaign, study, "ann")
    database = sqlite3.connect(campaign.folder / "campaign.sqlite")
    database.execute("DROP TRIGGER audit_is_not_shortened")
    database.execute("DELETE FROM audit WHERE n = 3")
    database.commit()
    with pytest.raises(InputError, match="entry 4 was changed, or one before it is missing"):
        campaign.audit()
    database.close()


def test_a_label_changed_on_the_disk_is_found(campaign, study):
    annotate(campaign, study, "ann")
    file = campaign.agreed()[0].label
    file.write_bytes(study.mask(study.names[5]).read_bytes())
    with pytest.raises(InputError, match="is not what was submitted"):
        campaign.audit()
    file.unlink()
    with pytest.raises(InputError, match="is missing"):
        campaign.audit()


def test_what_a_killed_process_left_unfinished_is_removed_and_that_of_a_living_one_stays(campaign):
    own_number = [sys.executable, "-c", "import os; print(os.getpid())"]
    gone = subprocess.run(own_number, capture_output=True, text=True, check=True)
    left, living = (
        campaign.folder / "labels" / f"{number}-0123.tmp" for number in (gone.stdout.strip(), str(os.getpid()))
    )
    left.write_bytes(b"half")
    living.write_bytes(b"half")
    Campaign(campaign.folder).close()
    assert not left.exists() and living.exists()
