"""Overlap and distance of masks: against SciPy, known shapes and real masks that were moved; the command."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk  # noqa: N813
import typer
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from llnm.cli.masks import masks
from llnm.errors import InputError
from llnm.evaluation.masks import mask_metrics, summarise_masks


def blob(seed, shape=(70, 90), share=0.3):
    """A random shape of smooth parts, as large as `share` of the image."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 5)
    return noise > np.quantile(noise, 1 - share)


def square(top, left, size=20, shape=(80, 80)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def by_scipy(first, second, spacing, tolerance):
    """The same figures from distance transforms of the outlines."""
    outlines = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    far = [ndimage.distance_transform_edt(~outline, sampling=spacing) for outline in outlines]
    to_second, to_first = far[1][outlines[0]], far[0][outlines[1]]
    both = np.concatenate([to_second, to_first])
    return {
        "dice": 2 * (first & second).sum() / (first.sum() + second.sum()),
        "iou": (first & second).sum() / (first | second).sum(),
        "hausdorff95_mm": max(np.quantile(to_second, 0.95), np.quantile(to_first, 0.95)),
        "boundary_error_mm": both.mean(),
        "surface_dice": (both <= tolerance + 1e-9).mean(),
    }


@pytest.mark.parametrize("spacing", [(0.1, 0.1), (0.3, 0.07), (0.05, 0.4)])
@pytest.mark.parametrize("seed", range(4))
def test_random_shapes_agree_with_distance_transforms(seed, spacing):
    first, second = blob(seed), blob(seed + 100, share=0.2)
    expected = by_scipy(first, second, spacing, 0.5)
    found = mask_metrics(first, second, spacing, tolerance_mm=0.5)
    assert found == pytest.approx(expected, rel=1e-5)
    assert mask_metrics(second, first, spacing, tolerance_mm=0.5) == pytest.approx(found, rel=1e-6)


def test_a_moved_square_is_as_far_off_as_it_was_moved():
    found = mask_metrics(square(20, 20), square(20, 26), (0.1, 0.5))
    assert found["hausdorff95_mm"] == pytest.approx(6 * 0.5)
    assert found["dice"] == pytest.approx(14 / 20)
    assert found["iou"] == pytest.approx(14 / 26)
    # The other way the pixels are small, and so is the error.
    assert mask_metrics(square(20, 20), square(26, 20), (0.1, 0.5))["hausdorff95_mm"] == pytest.approx(6 * 0.1)


def test_a_distance_that_equals_the_tolerance_is_within_it():
    first, second = square(20, 20), square(20, 23)
    share = {size: mask_metrics(first, second, (0.1, 0.1), size)["surface_dice"] for size in (0.29, 0.3, 0.31)}
    assert share[0.3] == share[0.31] == 1
    # Both far sides lie 3 pixels off, but for their corners, which are as far from the other square's rows.
    assert share[0.29] < 0.8


def test_without_a_spacing_there_are_no_millimetres():
    first, second = square(20, 20), square(20, 23)
    found = mask_metrics(first, second, tolerance_px=3, tolerance_mm=0)
    assert set(found) == {"dice", "iou", "hausdorff95_px", "boundary_error_px", "surface_dice_px"}
    assert (found["hausdorff95_px"], found["surface_dice_px"]) == (3, 1)
    in_mm = mask_metrics(first, second, (0.2, 0.2))
    assert in_mm["boundary_error_mm"] == pytest.approx(0.2 * found["boundary_error_px"])


@pytest.mark.parametrize(("spacing", "unit", "surface"), [((0.1, 0.1), "mm", ""), (None, "px", "_px")])
def test_empty_masks_have_an_overlap_and_no_distance(spacing, unit, surface):
    empty, full = np.zeros((80, 80), bool), square(20, 20)
    for pair, overlap in (((empty, empty), 1), ((empty, full), 0), ((full, empty), 0)):
        found = mask_metrics(*pair, spacing)
        assert [found["dice"], found["iou"], found[f"surface_dice{surface}"]] == [overlap] * 3
        assert found[f"hausdorff95_{unit}"] is found[f"boundary_error_{unit}"] is None
    same = mask_metrics(full, full, spacing)
    assert list(same.values()) == [1, 1, 0, 0, 1]


def test_nothing_is_said_beside_the_figures():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first in (square(20, 20), np.zeros((80, 80), bool)):
            mask_metrics(first, square(0, 0), (0.1, 0.1))


def test_shapes_and_sizes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="same size"):
        mask_metrics(square(0, 0), square(0, 0, shape=(80, 81)))
    with pytest.raises(InputError, match="spacing"):
        mask_metrics(square(0, 0), square(0, 0), (0.1, 0.0))
    with pytest.raises(InputError, match="tolerance"):
        mask_metrics(square(0, 0), square(0, 0), (0.1, 0.1), tolerance_mm=-1)


@pytest.mark.parametrize("pixels", [1, 3, 6])
def test_real_masks_grown_by_some_pixels_are_that_far_off(data, pixels):
    disc = np.hypot(*np.indices((2 * pixels + 1, 2 * pixels + 1)) - pixels) <= pixels
    errors = []
    for path in sorted((data / "gland" / "gland").glob("*.png"))[:8]:
        truth = np.asarray(Image.open(path)) > 0
        truth = ndimage.binary_fill_holes(ndimage.binary_opening(np.pad(truth, 10), iterations=2))
        errors.append(mask_metrics(ndimage.binary_dilation(truth, disc), truth, (0.2, 0.2))["boundary_error_mm"] / 0.2)
    assert len(errors) == 8
    # A disc of pixels reaches less far aslant, and a notch that fills up leaves no outline behind.
    assert 0.9 * pixels < min(errors)
    assert max(errors) < 1.02 * pixels


def test_a_case_counts_once_however_many_images_it_has():
    table = pd.DataFrame(
        {
            "case": ["a", "a", "a", "b", "c"],
            "dice": [1.0, 1.0, 0.4, 0.5, 0.0],
            "hausdorff95_mm": [1.0, 3.0, None, 8.0, None],
        }
    )
    summary = summarise_masks(table)
    assert (summary["images"], summary["cases"]) == (5, 3)
    assert summary["dice"]["mean"].value == pytest.approx((0.8 + 0.5 + 0) / 3)
    # "c" was missed and has no distance.
    assert summary["hausdorff95_mm"]["cases"] == 2
    assert summary["hausdorff95_mm"]["mean"].value == summary["hausdorff95_mm"]["median"].value == 5
    missed = summary["share_missed"]
    assert missed.value == pytest.approx(1 / 3)
    assert 0 < missed.low < 1 / 3 < missed.high < 1


def test_intervals_are_those_of_the_mean_of_cases():
    rng = np.random.default_rng(1)
    errors = rng.gamma(2, size=400)
    each = pd.DataFrame({"case": range(400), "dice": 0.5, "boundary_error_px": errors})
    repeated = pd.concat([each] * 5, ignore_index=True)
    figure, again = (summarise_masks(table)["boundary_error_px"]["mean"] for table in (each, repeated))
    assert again == figure  # four more looks at the same cases add nothing
    reach = 1.96 * errors.std() / 20
    assert [figure.low, figure.high] == pytest.approx([errors.mean() - reach, errors.mean() + reach], abs=0.15 * reach)
    assert summarise_masks(each.head(1))["dice"]["mean"].low is None


def test_nothing_but_empty_masks_is_summarised_too():
    empty = np.zeros((40, 40), bool)
    row = {"case": "a", **mask_metrics(empty, square(5, 5, shape=(40, 40)))}
    summary = summarise_masks(pd.DataFrame([row]))
    assert summary["share_missed"].value == 1
    assert "hausdorff95_px" not in summary


# The command.


@pytest.fixture
def folders(tmp_path):
    """Four pairs of masks of three cases, moved by 0 to 3 pixels."""
    for folder in ("predicted", "truth"):
        (tmp_path / folder).mkdir()
    for number in range(4):
        save(tmp_path / "predicted" / f"{number}.png", square(20, 20 + number))
        save(tmp_path / "truth" / f"{number}.tif", square(20, 20))
    return tmp_path


def save(path, mask):
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)


@pytest.fixture
def run(folders):
    """Run the command on the folders; gives its result, and the written table and summary if there are any."""
    app = typer.Typer()
    app.command()(masks)

    def call(*arguments):
        out = folders / "out"
        places = [str(folders / "predicted"), str(folders / "truth"), "--out", str(out)]
        result = CliRunner().invoke(app, [*places, *map(str, arguments)])
        if result.exit_code:
            return result, None, None
        summary = json.loads((out / "masks.json").read_text(encoding="utf-8"))
        return result, pd.read_csv(out / "masks.csv", dtype={"image": str, "case": str}), summary

    return call


def test_pairs_are_measured_in_millimetres_with_a_spacing(run, folders):
    _, table, summary = run("--spacing", 0.1, "--tolerance", 0.2)
    assert list(table["image"]) == ["0", "1", "2", "3"]
    np.testing.assert_allclose(table["hausdorff95_mm"], [0, 0.1, 0.2, 0.3], rtol=1e-6)
    assert list(table["surface_dice"] == 1) == [True, True, True, False]
    assert summary["cases"] == 4
    assert summary["excluded"] == []
    assert summary["hausdorff95_mm"]["median"]["value"] == pytest.approx(0.15)
    assert "Research use only" in summary["notice"]
    assert not [name for name in table if name.endswith("_px")]


def test_a_table_gives_spacings_and_cases(run, folders):
    (folders / "about.csv").write_text("image,spacing_mm,who\n0.png,0.1,A\n1,0.2,A\n2,,B\n3,0.1,\n", encoding="utf-8")
    result, table, summary = run("--table", folders / "about.csv", "--case-column", "who")
    assert list(table["case"]) == ["A", "A", "B"]
    assert list(table["hausdorff95_mm"].fillna(-1)) == pytest.approx([0, 0.2, -1])
    assert list(table["hausdorff95_px"].fillna(-1)) == [-1, -1, 2]
    assert (summary["cases"], summary["images"]) == (2, 3)
    assert summary["excluded"] == [{"image": "3", "reason": "is not in the table, or its case is empty"}]
    assert "3: set aside" in result.output


def test_the_spacing_in_a_volume_file_is_used(run, folders):
    image = sitk.GetImageFromArray(square(20, 20).astype(np.uint8))
    image.SetSpacing((0.4, 0.1))  # x, y
    (folders / "truth" / "3.tif").unlink()
    sitk.WriteImage(image, str(folders / "truth" / "3.nrrd"))
    table = run()[1].set_index("image")
    assert table.loc["3", "hausdorff95_mm"] == pytest.approx(3 * 0.4)
    assert np.isnan(table.loc["2", "hausdorff95_mm"])


def test_what_cannot_be_measured_is_named(run, folders):
    predicted, truth = folders / "predicted", folders / "truth"
    (predicted / "0.png").unlink()
    save(predicted / "1.png", square(0, 0, shape=(70, 80)))
    (predicted / "2.png").write_text("no image", encoding="utf-8")
    save(truth / "more.png", square(0, 0))
    (predicted / "more.dcm").write_bytes(b"nothing")
    save(predicted / "alone.png", square(0, 0))
    (predicted / "segment.json").write_text("{}", encoding="utf-8")
    result, table, summary = run()
    assert list(table["image"]) == ["3"]
    reasons = {row["image"]: row["reason"] for row in summary["excluded"]}
    assert set(reasons) == {"0", "1", "2", "more", "alone"}
    assert "no predicted mask" in reasons["0"]
    assert "no drawn mask" in reasons["alone"]
    assert "80 x 70 pixels, the image 80 x 80" in reasons["1"]
    assert "2.png" in reasons["2"]
    assert "more.dcm" in reasons["more"]
    assert all(f"{name}: set aside" in result.output for name in reasons)


def test_an_empty_prediction_is_a_miss_and_not_set_aside(run, folders):
    save(folders / "predicted" / "0.png", np.zeros((80, 80), bool))
    _, table, summary = run()
    assert table["dice"][0] == 0
    assert np.isnan(table["hausdorff95_px"][0])
    assert summary["excluded"] == []
    assert summary["share_missed"]["value"] == 0.25
    assert summary["hausdorff95_px"]["cases"] == 3


def test_what_cannot_be_used_ends_in_one_line(run, folders):
    (folders / "twice.csv").write_text("image\n0\n0.png\n", encoding="utf-8")
    (folders / "far.csv").write_text("image,spacing_mm\n0,0.1\n1,50\n", encoding="utf-8")
    (folders / "names.csv").write_text("name\n0\n", encoding="utf-8")
    for arguments, name in (
        (("--table", folders / "twice.csv"), "twice"),
        (("--table", folders / "far.csv"), "row 3, spacing_mm: 50 mm"),
        (("--table", folders / "far.csv", "--spacing", 0.1), "give one of them"),
        (("--table", folders / "names.csv"), "no column 'image'"),
        (("--table", folders / "nowhere.csv"), "nowhere.csv"),
        (("--case-column", "who"), "--table"),
        (("--spacing", 9), "--spacing"),
        (("--tolerance", -1), "--tolerance"),
    ):
        error = run(*arguments)[0].exception
        assert isinstance(error, InputError), arguments
        assert name in str(error)
    save(folders / "truth" / "0.png", square(0, 0))
    assert "0.tif" in str(run()[0].exception)
    assert not (folders / "out").exists()


def test_no_pair_at_all_is_refused(run, folders):
    for path in (folders / "predicted").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    error = run()[0].exception
    assert isinstance(error, InputError)
    assert "no pair" in str(error)


def test_real_masks_against_themselves_and_each_other(data, tmp_path):
    app = typer.Typer()
    app.command()(masks)
    (tmp_path / "few").mkdir()
    paths = sorted((data / "ddti" / "nodule").glob("*.png"))[:12]
    for path in paths:
        (tmp_path / "few" / path.name).write_bytes(path.read_bytes())
    arguments = [str(tmp_path / "few"), str(data / "ddti" / "nodule"), "--table", str(data / "ddti" / "cases.csv")]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "masks.json").read_text(encoding="utf-8"))
    cases = {path.stem.split("_")[0] for path in paths}
    assert (summary["images"], summary["cases"]) == (12, len(cases))
    assert summary["dice"]["mean"]["value"] == 1
    assert summary["hausdorff95_px"]["mean"]["value"] == 0
    assert len(summary["excluded"]) == len(list((data / "ddti" / "nodule").glob("*.png"))) - 12
