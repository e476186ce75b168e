"""The segmentation networks and their inference, on drawn, simulated and real images."""

import numpy as np
import pandas as pd
import pytest
import torch

from llnm import UltrasoundImage, load_image, segment
from llnm.errors import InputError
from llnm.imaging import load_mask, prepare
from llnm.segmentation.candidates import choose, components, find_candidates, level_at
from llnm.segmentation.encoder import EfficientNetLiteEncoder, published_weights
from llnm.segmentation.networks import CANVAS, SceneRelation, build_network, fitted_size
from llnm.weights import weights_file

# The shipped weights that were not trained on fold 0 of 5.
HELD_BACK_FROM = {"nodule": weights_file("nodule", kind="open"), "gland": weights_file("gland")}


def blob(shape, box):
    mask = np.zeros(shape, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


@pytest.mark.parametrize("structure", ["nodule", "gland"])
def test_a_network_gives_one_logit_a_pixel_and_learns_from_every_parameter(structure):
    torch.manual_seed(0)
    network = build_network(structure)
    logits = network(torch.rand(2, 2, *CANVAS))
    assert logits.shape == (2, 1, *CANVAS)
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_encoder_answers_a_grey_image_as_the_published_weights_answer_three_equal_channels():
    """The stem, by hand: three equal channels through the published kernels, padded as TensorFlow does."""
    state = torch.load(published_weights(), map_location="cpu", weights_only=True)
    encoder = EfficientNetLiteEncoder(in_channels=2).eval()
    encoder.load_published(state)
    grey = torch.rand(1, 1, 64, 96)
    colour = ((255 * grey - 127) / 128).expand(-1, 3, -1, -1)
    features = torch.nn.functional.conv2d(
        torch.nn.functional.pad(colour, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2
    )
    names = ("running_mean", "running_var", "weight", "bias")
    norm = [state[f"_bn0.{name}"] for name in names]
    expected = torch.nn.functional.batch_norm(features, *norm, eps=1e-3).clamp(0, 6)
    with torch.no_grad():
        found = encoder.stem(torch.cat([(grey - 127 / 255) * 255 / 128, torch.rand(1, 1, 64, 96)], dim=1))
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(360, 560), (400, 400), (900, 300), (37, 41)])
def test_a_scan_area_fills_the_canvas_on_one_side_and_keeps_its_aspect_ratio(shape):
    rows, columns = fitted_size(shape)
    assert rows == CANVAS[0] or columns == CANVAS[1]
    assert rows <= CANVAS[0]
    assert columns <= CANVAS[1]
    assert columns / rows == pytest.approx(shape[1] / shape[0], rel=1.5 / min(rows, columns))


def test_scene_relation_is_the_sigmoid_of_the_scaled_inner_product():
    torch.manual_seed(0)
    relation = SceneRelation(4, 6, relation_channels=9).eval()
    features, scene = torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    with torch.no_grad():
        found = relation(features, scene)
        content, vector, encoded = relation.content(features), relation.scene(scene), relation.encode(features)
        for patient in range(2):
            for row in range(5):
                for column in range(5):
                    weight = torch.sigmoid(content[patient, :, row, column] @ vector[patient] / 3)
                    expected = weight * encoded[patient, :, row, column]
                    assert torch.allclose(found[patient, :, row, column], expected, atol=1e-6)


def test_candidates_are_components_by_size_with_holes_filled_and_speckle_dropped():
    shape = (100, 120)
    large, small = blob(shape, (10, 10, 50, 60)), blob(shape, (70, 80, 90, 100))
    probability = np.where(large | small, 0.9, 0.1).astype(np.float32)
    probability[20:25, 20:25] = 0.1
    probability[5, 5] = 0.9
    found = find_candidates(probability, "nodule")
    assert [mask.sum() for mask in found] == [large.sum(), small.sum()]


def test_a_gland_is_all_its_large_parts_and_a_nodule_the_largest():
    shape = (100, 120)
    parts = components(blob(shape, (10, 10, 50, 60)) | blob(shape, (70, 80, 90, 100)))
    assert np.array_equal(choose(parts, "gland", shape), parts[0] | parts[1])
    assert np.array_equal(choose(parts, "nodule", shape), parts[0])


def test_point_and_box_choose_x_before_y():
    shape = (100, 120)
    parts = components(blob(shape, (10, 10, 50, 60)) | blob(shape, (70, 80, 90, 100)))
    assert np.array_equal(choose(parts, "nodule", shape, point=(85, 75)), parts[1])
    assert np.array_equal(choose(parts, "nodule", shape, box=(75, 65, 110, 95)), parts[1])
    for wrong in ({"point": (75, 85.0)}, {"point": (130, 5)}, {"box": (0, 0, 5, 5)}, {"box": (50, 50, 40, 60)}):
        with pytest.raises(InputError):
            choose(parts, "nodule", shape, **wrong)


def test_a_click_where_the_network_is_unsure_lowers_the_level_until_its_component_holds_the_click():
    probability = np.full((40, 50), 0.02, np.float32)
    probability[10:20, 10:20] = 0.3
    probability[25:35, 30:45] = 0.9
    assert level_at(probability, None) == level_at(probability, (35, 30)) == 0.5
    level = level_at(probability, (12, 15))
    found = choose(find_candidates(probability, "nodule", level), "nodule", probability.shape, point=(12, 15))
    assert found.sum() == 100
    with pytest.raises(InputError, match="no nodule was found there"):
        choose(find_candidates(probability, "nodule", level_at(probability, (2, 2))), "nodule", (40, 50), point=(2, 2))


def test_a_box_makes_the_mask_better_and_a_click_never_leaves_it_out(data):
    """Over held-back images: pointing at what annotators drew."""
    scores, weights = {"alone": [], "click": [], "box": []}, HELD_BACK_FROM["nodule"]
    for item in held_back(data, "ddti", "nodule")[::6]:
        frame = load_image(item.image)
        drawn = components(load_mask(item.label, frame.shape))[0]
        rows, columns = np.nonzero(drawn)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        point = (float(columns[nearest]), float(rows[nearest]))
        clicked = segment(frame, point=point, weights=weights).mask
        assert clicked[rows[nearest], columns[nearest]]
        scores["alone"].append(dice(segment(frame, weights=weights).target, drawn))
        scores["click"].append(dice(clicked, drawn))
        scores["box"].append(dice(segment(frame, box=tuple(map(float, box)), weights=weights).mask, drawn))
    means = {name: np.mean(values) for name, values in scores.items()}
    assert means["box"] > max(0.8, means["alone"])
    assert means["click"] > means["alone"]


def test_the_probability_lies_in_the_frames_own_pixels(data):
    """A frame with a wide black band added above gives the same mask, moved down by the band."""
    path = sorted((data / "ddti" / "images").glob("*.jpg"))[5]
    frame = load_image(path)
    band = 60
    moved = UltrasoundImage(np.pad(frame.pixels, ((band, 0), (0, 0))))
    here, there = segment(frame), segment(moved)
    shared = (here.mask & there.mask[band:]).sum()
    assert here.probability.shape == frame.shape
    assert 2 * shared / (here.mask.sum() + there.mask.sum()) > 0.95


def test_nothing_is_found_outside_the_scan_area(data):
    for path in sorted((data / "ddti" / "images").glob("*.jpg"))[:5]:
        prepared = prepare(load_image(path))
        outside = np.ones(prepared.shape, bool)
        outside[prepared.scan_area.slices] = False
        assert segment(prepared).probability[outside].max() == 0


def test_segmenting_twice_gives_the_same_bits(data):
    frame = load_image(sorted((data / "samples").glob("*.jpg"))[0])
    first, second = segment(frame, "gland"), segment(frame, "gland")
    assert np.array_equal(first.probability, second.probability)
    assert np.array_equal(first.uncertainty, second.uncertainty)


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def held_back(data, folder, structure):
    """The images that the weights of HELD_BACK_FROM were not trained on (fold 0 of 5)."""
    from llnm.training.data import find_items, split_by_group

    return split_by_group(find_items(data / folder, structure), fold=0, folds=5)[1]


@pytest.mark.parametrize(("folder", "structure", "least"), [("ddti", "nodule", 0.65), ("gland", "gland", 0.7)])
def test_the_shipped_weights_find_what_annotators_drew_on_held_back_images(data, folder, structure, least):
    scores = []
    for item in held_back(data, folder, structure)[::6]:
        frame = load_image(item.image)
        found = segment(frame, structure, weights=HELD_BACK_FROM[structure])
        drawn = load_mask(item.label, frame.shape)
        scores.append(dice(found.mask, drawn))
    assert np.mean(scores) > least, np.round(scores, 2)


def test_the_mask_holds_every_nodule_and_pointing_at_one_leaves_that_alone(data):
    frames = (load_image(item.image) for item in held_back(data, "ddti", "nodule"))
    frame, found = next((frame, found) for frame in frames if len((found := segment(frame)).candidates) > 1)
    largest, second = found.candidates[:2]
    assert np.array_equal(found.target, largest)
    assert np.array_equal(found.mask, np.any(found.candidates, axis=0))
    rows, columns = np.nonzero(second)
    middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    clicked = segment(frame, point=(float(columns[middle]), float(rows[middle])))
    assert np.array_equal(clicked.mask, clicked.target)
    assert dice(clicked.mask, second) > max(0.5, dice(clicked.mask, largest))


def test_uncertainty_is_larger_where_the_network_is_wrong(data):
    """Over held-back pixels of the scan area, wrong pixels are less certain than right ones."""
    wrong, right = [], []
    for item in held_back(data, "ddti", "nodule")[::8]:
        frame = load_image(item.image)
        found = segment(frame, weights=HELD_BACK_FROM["nodule"])
        drawn = load_mask(item.label, frame.shape)
        area = prepare(frame).scan_area.slices
        error = (found.probability > 0.5)[area] != drawn[area]
        wrong.append(found.uncertainty[area][error].mean())
        right.append(found.uncertainty[area][~error].mean())
    assert np.nanmean(wrong) > 1.5 * np.nanmean(right)


def test_patients_of_one_case_are_never_on_both_sides_of_a_split(data):
    from llnm.training.data import find_items, split_by_group

    items = find_items(data / "ddti", "nodule")
    cases = pd.read_csv(data / "ddti" / "cases.csv", dtype=str).set_index("image")["case"]
    seen = []
    for fold in range(5):
        training, held = split_by_group(items, fold, 5)
        assert not {cases[i.image.stem] for i in training} & {cases[i.image.stem] for i in held}
        assert len(training) + len(held) == len(items)
        seen += [item.image for item in held]
    assert sorted(seen) == sorted(item.image for item in items)
