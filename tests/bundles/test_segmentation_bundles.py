"""The two segmentation bundles as a stranger uses them: by MONAI's own commands, against the package's own numbers."""

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ckpt_export, create_workflow, load, onnx_export, run, verify_metadata, verify_net_in_out
from PIL import Image

from llnm import load_image, segment
from llnm.errors import InputError
from llnm.imaging import prepare
from llnm.segmentation.canvas import place_on_canvas
from llnm.segmentation.networks import load_network
from llnm.segmentation.transforms import find_frames
from llnm.training.data import HeldBack, evaluation_samples, find_items
from llnm.training.measuring import evaluate
from llnm.weights import bundle_folder

STRUCTURES = ("nodule", "gland")
FOLDERS = {"nodule": "ddti", "gland": "gland"}
FEW = 6
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def files(structure, *names):
    configs = bundle_folder(structure) / "configs"
    paths = [str(configs / name) for name in names]
    return paths if len(paths) > 1 else paths[0]


def workflow(structure, kind, *names, **settings):
    root = str(bundle_folder(structure))
    config = files(structure, *names)
    return create_workflow(
        config_file=config, workflow_type=kind, logging_file=False, bundle_root=root, device="cpu", **settings
    )


def weights(structure):
    return bundle_folder(structure) / "models" / "model.pt"


@pytest.fixture(scope="module")
def annotated(data, tmp_path_factory):
    """For each structure a folder of six annotated images, laid out as for a training."""
    folders = {}
    for structure, source in FOLDERS.items():
        folder = tmp_path_factory.mktemp("annotated") / source
        for part, items in (("images", "image"), (structure, "label")):
            (folder / part).mkdir(parents=True)
            for item in find_items(data / source, structure)[:FEW]:
                path = getattr(item, items)
                (folder / part / path.name).symlink_to(path)
        folders[structure] = folder
    return folders


@pytest.fixture(scope="module")
def frames(data, tmp_path_factory):
    """Twenty real images of two sources in one folder; the stems of two in its subfolders are equal."""
    folder = tmp_path_factory.mktemp("frames")
    for source in FOLDERS.values():
        (folder / source).mkdir()
        chosen = sorted((data / source / "images").iterdir())[::20][:10]
        for index, path in enumerate(chosen):
            (folder / source / (f"same{path.suffix}" if index == 0 else path.name)).symlink_to(path)
    return folder


@pytest.fixture(scope="module", params=STRUCTURES)
def answers(request, frames, tmp_path_factory):
    """What the bundle's inference gives: the structure, the folder of masks, the workflow, and each image's maps."""
    structure, out = request.param, tmp_path_factory.mktemp(f"answers_{request.param}")
    flow = workflow(structure, "infer", "inference.json", dataset_dir=str(frames), output_dir=str(out))
    found = {}

    def keep(engine):
        for result in engine.state.output:
            found[result["image"].meta["filename_or_obj"]] = result["maps"].numpy()

    flow.evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
    flow.run()
    return structure, out, flow, found


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_workflow_has_the_properties_that_monai_asks_for(structure, annotated, tmp_path):
    given = {"dataset_dir": str(annotated[structure]), "output_dir": str(tmp_path), "pretrained": False}
    assert workflow(structure, "train", "train.json", **given).check_properties() == []
    assert workflow(structure, "train", "train.json", "evaluate.json", **given).check_properties() == []
    del given["pretrained"]
    assert workflow(structure, "infer", "inference.json", **given).check_properties() == []


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_metadata_follows_the_schema_and_the_network_follows_the_metadata(structure, data, tmp_path):
    metadata = bundle_folder(structure) / "configs" / "metadata.json"
    schema = tmp_path / "schema.json"
    schema.write_bytes((data / "published" / "meta_schema_20240725.json").read_bytes())
    verify_metadata(meta_file=str(metadata), filepath=str(schema))
    about = json.loads(metadata.read_text(encoding="utf-8"))
    assert about["version"] == next(iter(about["changelog"]))
    assert about["schema"].endswith("/meta_schema_20240725.json")
    config = files(structure, "inference.json")
    verify_net_in_out("network_def", meta_file=str(metadata), config_file=config, device="cpu")
    with pytest.raises(RuntimeError):
        channels = {"_meta_#network_data_format#inputs#image#num_channels": 3}
        verify_net_in_out("network_def", meta_file=str(metadata), config_file=config, device="cpu", **channels)


def test_the_bundle_gives_the_masks_and_probabilities_of_segment(answers, frames):
    structure, out, flow, found = answers
    assert len(found) == len(flow.dataset.data) == len(list(out.iterdir())) == 20
    assert {f"same_{number}" for number in (1, 2)} < {sample["name"] for sample in flow.dataset.data}
    for sample in flow.dataset.data:
        expected = segment(load_image(sample["image"]), structure, weights=weights(structure))
        with Image.open(out / f"{sample['name']}.png") as picture:
            assert picture.mode == "L"
            mask = np.asarray(picture)
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask > 0, expected.mask), sample["image"]
        probability, uncertainty = found[sample["image"]]
        assert np.abs(probability - expected.probability).max() < 1e-4
        assert np.abs(uncertainty - expected.uncertainty).max() < 1e-4


def test_torchscript_and_onnx_answer_as_the_network_does_on_real_frames(answers, tmp_path):
    structure, _, flow, _ = answers
    settings = {
        "net_id": "network_def",
        "ckpt_file": str(weights(structure)),
        "meta_file": files(structure, "metadata.json"),
        "config_file": files(structure, "inference.json"),
    }
    ckpt_export(filepath=str(tmp_path / "model.ts"), **settings)
    onnx_export(filepath=str(tmp_path / "model.onnx"), **settings)
    eager = load_network(structure, weights(structure))
    scripted = torch.jit.load(tmp_path / "model.ts").eval()
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for sample in flow.dataset.data:
        view = place_on_canvas(prepare(load_image(sample["image"]))).as_tensor()[None]
        with torch.inference_mode():
            expected = eager(view)
            assert torch.allclose(scripted(view), expected, atol=1e-4, rtol=0)
        exported = torch.from_numpy(session.run(None, {"image": view.numpy()})[0])
        assert torch.allclose(exported.sigmoid(), expected.sigmoid(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_monai_loads_the_network_from_the_bundle_folder(structure):
    root = bundle_folder(structure)
    loaded = load(root.name, bundle_dir=root.parent, workflow_type="inference", device="cpu").eval()
    view = torch.rand(1, 2, 160, 224)
    with torch.inference_mode():
        assert torch.allclose(loaded(view), load_network(structure, weights(structure))(view), atol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_evaluation_gives_the_figures_of_llnm_measure(structure, annotated, tmp_path):
    folder = annotated[structure]
    given = {"dataset_dir": str(folder), "output_dir": str(tmp_path), "folds": 1}
    workflow(structure, "train", "train.json", "evaluate.json", **given).run()
    expected = evaluate(structure, find_items(folder, structure), weights(structure))
    metrics = pd.read_csv(tmp_path / "metrics.csv", header=None, index_col=0)[1]
    assert metrics["val_mean_dice"] == pytest.approx(expected["dice"].mean(), abs=1e-6)
    assert metrics["val_mean_iou"] == pytest.approx(expected["iou"].mean(), abs=1e-6)
    each = pd.read_csv(tmp_path / "val_mean_dice_raw.csv")
    assert [Path(name).stem for name in each["filename"]] == list(expected["image"])
    assert np.allclose(each["mean"], expected["dice"], atol=1e-6)


def test_what_is_evaluated_is_what_a_training_holds_back(annotated):
    given = {"dataset_dir": [str(annotated["nodule"])], "folds": 4, "fold": 1}
    held_back = workflow("nodule", "train", "train.json", **given).parser.get_parsed_content("split")["held_back"]
    flow = workflow("nodule", "train", "train.json", "evaluate.json", **given)
    assert [sample["image"] for sample in flow.val_dataset_data] == [str(sample["item"].image) for sample in held_back]
    assert 0 < len(held_back) < FEW


def test_a_folder_without_images_and_no_folder_are_refused_in_one_line(tmp_path):
    for place in ("", str(tmp_path), str(tmp_path / "none")):
        with pytest.raises(InputError, match="give"):
            find_frames(place)
    with pytest.raises(InputError, match="dataset_dir: nothing to measure on"):
        evaluation_samples([], "nodule", HeldBack())


def test_a_training_by_monai_goes_on_after_a_kill_and_ends_as_if_undisturbed(annotated, tmp_path):
    settings = {
        "bundle_root": str(bundle_folder("nodule")),
        "dataset_dir": str(annotated["nodule"]),
        "folds": 4,
        "max_epochs": 2,
        "batch_size": 2,
        "pretrained": False,
        "device": "cpu",
    }
    config, killed, whole = files("nodule", "train.json"), tmp_path / "killed", tmp_path / "whole"
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        config,
        *words,
        "--output_dir",
        str(killed),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (killed / "checkpoint.pt").is_file():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (killed / "model.pt").is_file(), "it was killed before its end"
    run(config_file=config, output_dir=str(killed), resume="true", logging_file=False, **settings)
    run(config_file=config, output_dir=str(whole), logging_file=False, **settings)
    expected, found = (torch.load(out / "model.pt", weights_only=True) for out in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_example_script_writes_a_mask_for_each_image(data, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    image = sorted((data / "ddti" / "images").iterdir())[0]
    (tmp_path / "images" / image.name).write_bytes(image.read_bytes())
    bundle = bundle_folder("nodule")
    main = runpy.run_path(str(bundle.parent / "examples" / "segment_with_bundle.py"))["main"]
    main(bundle, tmp_path / "images", tmp_path / "out")
    mask = segment(load_image(image), weights=weights("nodule")).mask
    assert f"{image.name}: {mask.sum()} pixels" in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / f"{image.stem}.png")) > 0, mask)
