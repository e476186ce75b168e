"""The LLNM bundle as a stranger uses it: by MONAI's own commands, against the package's own numbers."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, onnx_export, verify_metadata, verify_net_in_out

from llnm import predict
from llnm.cohort import read_patient, read_table, rows
from llnm.errors import InputError
from llnm.pipeline.risk import load_tmdl
from llnm.simulate import write_cohort
from llnm.tmdl.packed import EXAMINATION_SHAPE, ExaminationTMDL, pack, unpack
from llnm.training.llnm import score_patients
from llnm.training.patients import patient_split
from llnm.weights import bundle_folder
from training.interrupted import assert_a_kill_changes_nothing

BUNDLE = bundle_folder("llnm")
CONFIGS, WEIGHTS = BUNDLE / "configs", BUNDLE / "models" / "model.pt"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Eight simulated patients; one lacks its masks, one its report, one a view, one age and sex."""
    path = write_cohort(8, seed=21, out=tmp_path_factory.mktemp("bundle") / "cohort")
    table = read_table(path)
    table.loc[0, [column for column in table if column.endswith("_mask")]] = ""
    table.loc[1, "report"] = ""
    table.loc[2, [column for column in table if column.startswith("longitudinal")]] = ""
    table.loc[3, ["age", "sex"]] = ""
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def predictions(cohort):
    return [predict(read_patient(cells, cohort.parent).case) for cells in rows(read_table(cohort))]


@pytest.fixture(scope="module")
def examinations(predictions):
    """The eight patients' tensors, (8, 7, 224, 224)."""
    return torch.cat([pack(prediction.risk.inputs) for prediction in predictions])


@pytest.fixture(scope="module")
def network():
    network = ExaminationTMDL.from_metadata(CONFIGS / "metadata.json")
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return network.eval()


def command(*options):
    return [sys.executable, "-W", "ignore", "-m", "monai.bundle", *map(str, options)]


def monai_bundle(*options):
    """`python -m monai.bundle` from the bundle's folder."""
    found = subprocess.run(command(*options), check=False, capture_output=True, text=True, cwd=BUNDLE)
    assert found.returncode == 0, found.stderr[-3000:]


def test_a_packed_examination_gives_the_logits_of_its_parts(network, predictions, examinations):
    plain = load_tmdl()
    with torch.inference_mode():
        packed = network(examinations)
        apart = [plain(prediction.risk.inputs) for prediction in predictions]
    assert torch.allclose(packed[:, 0], torch.cat([answer.logits[:, 0] for answer in apart]), atol=1e-4)
    assert torch.allclose(packed[:, 1:], torch.cat([answer.level_logits for answer in apart]), atol=1e-4)


def test_unpacking_gives_back_what_was_packed(predictions):
    inputs = predictions[1].risk.inputs
    found = unpack(pack(inputs))
    assert bool(found["report_absent"])
    for name, value in inputs.items():
        assert torch.equal(found[name][:, : value.shape[1]] if value.ndim > 1 else found[name], value), name
    with pytest.raises(InputError, match=r"location: \(B, 2, 1, 224, 224\)"):
        pack({name: value[:, 0] if value.ndim == 5 else value for name, value in inputs.items()})


def test_torchscript_and_onnx_give_the_same_logits(network, examinations, tmp_path):
    export = {
        "ckpt_file": str(WEIGHTS),
        "meta_file": str(CONFIGS / "metadata.json"),
        "config_file": str(CONFIGS / "inference.json"),
        "bundle_root": str(BUNDLE),
    }
    ckpt_export(net_id="network_def", filepath=str(tmp_path / "model.ts"), **export)
    onnx_export(net_id="network_def", filepath=str(tmp_path / "model.onnx"), **export)
    script = torch.jit.load(tmp_path / "model.ts")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    with torch.inference_mode():
        expected = network(examinations)
        assert torch.allclose(script(examinations), expected, atol=1e-4)
        assert torch.allclose(script(examinations[:1]), expected[:1], atol=1e-4)
    onnx = np.concatenate([session.run(None, {name: one[None].numpy()})[0] for one in examinations])
    assert np.allclose(onnx, expected, atol=1e-4)


def test_bundle_inference_gives_the_probabilities_of_predict(cohort, predictions, tmp_path):
    monai_bundle(
        "run", "--config_file", "configs/inference.json", "--dataset_dir", cohort.parent, "--output_dir", tmp_path
    )
    found = pd.read_csv(tmp_path / "predictions.csv")
    assert np.allclose(found["probability"], [prediction.risk.probability for prediction in predictions], atol=1e-4)
    levels = [prediction.risk.levels for prediction in predictions]
    assert np.allclose(found[["level_low", "level_medium", "level_high"]], pd.DataFrame(levels), atol=1e-4)
    assert found["note"].str.contains("Research use only; not a medical device").all()
    assert list(found["patient_id"]) == [prediction.case.patient for prediction in predictions]


def test_a_killed_training_ends_with_the_same_weights_and_evaluation_gives_its_auc(cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(BUNDLE)
    run, cache = tmp_path / "whole", tmp_path / "cache"
    fixed = ["--dataset_dir", cohort.parent, "--cache_dir", cache, "--folds", 2]
    train = ["run", "--config_file", "configs/train.json", *fixed, "--batch_size", 2, "--validation_share", 0]
    assert_a_kill_changes_nothing(
        lambda out: command(*train, "--output_dir", out, "--max_epochs", 2),
        tmp_path,
        within=0.1,
        resume=("--resume", "True"),
        last="model.pt",
    )
    found = subprocess.run(
        command(*train, "--output_dir", run, "--max_epochs", 3, "--resume", True),
        check=False,
        capture_output=True,
        text=True,
    )
    assert "is of a training of 2 epochs, not 3" in found.stderr
    evaluate = ["run", "--config_file", "['configs/train.json','configs/evaluate.json']", *fixed]
    weights = ["--ckpt_path", run / "model.pt", "--output_dir", tmp_path / "eval"]
    monai_bundle(*evaluate, *weights, "--evaluated", "$@split.everyone")
    metrics = (tmp_path / "eval" / "metrics.csv").read_text(encoding="utf-8")
    config = ExaminationTMDL.from_metadata(CONFIGS / "metadata.json").config
    trained = ExaminationTMDL.__base__(config).eval()
    trained.load_state_dict(torch.load(run / "model.pt", weights_only=True))
    scores = score_patients(trained, patient_split(cohort, folds=2).everyone, cache)
    pairs = [
        float(a > b) + 0.5 * float(a == b)
        for a in scores.loc[scores["llnm"] == 1, "probability"]
        for b in scores.loc[scores["llnm"] == 0, "probability"]
    ]
    assert float(metrics.split(",")[-1]) == pytest.approx(np.mean(pairs), abs=1e-4)


@pytest.mark.parametrize(
    ("kind", "files"),
    [("train", ["train.json"]), ("train", ["train.json", "evaluate.json"]), ("infer", ["inference.json"])],
)
def test_no_property_that_monai_expects_of_a_workflow_is_missing(kind, files, cohort, tmp_path):
    workflow = ConfigWorkflow(
        [str(CONFIGS / name) for name in files],
        workflow_type=kind,
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        bundle_root=str(BUNDLE),
        dataset_dir=str(cohort.parent),
        output_dir=str(tmp_path),
        cache_dir=str(tmp_path),
    )
    workflow.initialize()
    assert not workflow.check_properties()


def test_the_metadata_follows_the_schema_and_the_network_follows_the_metadata(data, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_bytes((data / "published" / "meta_schema_20240725.json").read_bytes())
    verify_metadata(meta_file=str(CONFIGS / "metadata.json"), filepath=str(schema))
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "inference.json"),
        bundle_root=str(BUNDLE),
    )
    known = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
    about = known["network_data_format"]["inputs"]["image"]
    assert (about["num_channels"], *about["spatial_shape"]) == EXAMINATION_SHAPE
    assert known["version"] == next(iter(known["changelog"]))


def test_a_bundle_zip_is_the_same_each_time_and_pins_what_is_installed(tmp_path):
    make = [sys.executable, str(BUNDLE.parent / "make_bundles.py")]
    for out in ("one", "two"):
        subprocess.run([*make, str(tmp_path / out)], check=True, capture_output=True)
    first, second = (sorted((tmp_path / out).iterdir()) for out in ("one", "two"))
    assert [path.name.split("_v")[0] for path in first] == sorted(
        folder.name for folder in BUNDLE.parent.glob("thyroid_*")
    )
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(first, second, strict=True))
    with zipfile.ZipFile(first[1]) as archive:
        pins = archive.read("thyroid_llnm_prediction/requirements.txt").decode().split()
        about = json.loads(archive.read("thyroid_llnm_prediction/configs/metadata.json"))
        names = archive.namelist()
    assert f"monai=={about['monai_version']}" in pins
    assert f"scipy=={version('scipy')}" in pins
    assert about["version"] in about["changelog"]
    assert "thyroid_llnm_prediction/llnm/pipeline/__init__.py" in names
    assert not [name for name in names if "__pycache__" in name or Path(name).suffix == ".pyc"]
