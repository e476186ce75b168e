"""Two kinds of weights: the application's default, what each record says, and what a bundle without one kind does."""

import json

import pytest

from llnm.errors import InputError
from llnm.weights import file_sha256, weights_file, weights_files, weights_record

RESEARCH = {"kind": "research", "training_data": "photographs", "trained_on_simulated_patients": False}


@pytest.fixture
def bundles(tmp_path):
    """A folder of one bundle whose open weights were trained on simulated views."""
    bundle = tmp_path / "thyroid_gland_segmentation"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    weights = {"kind": "open", "training_data": "simulated views", "trained_on_simulated_patients": True}
    metadata = {"version": "1.2.3", "weights": weights}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (bundle / "models" / "model.pt").write_bytes(b"open")
    return tmp_path


def add_research(bundles):
    folder = bundles / "thyroid_gland_segmentation" / "models" / "research"
    folder.mkdir()
    (folder / "model.pt").write_bytes(b"research")
    (folder / "weights.json").write_text(json.dumps(RESEARCH), encoding="utf-8")
    return folder / "model.pt"


def test_open_weights_are_used_where_nothing_else_is_there(bundles):
    path = weights_file("gland", bundles)
    assert path.read_bytes() == b"open"
    assert weights_files("gland", bundles) == (path,)
    assert weights_record("gland", bundles).kind == "open"
    with pytest.raises(InputError, match="no weights there"):
        weights_file("gland", bundles, "research")


def test_research_weights_are_the_default_where_they_ship_and_say_what_they_are(bundles):
    path = add_research(bundles)
    assert weights_file("gland", bundles) == path
    assert weights_file("gland", bundles, "open").read_bytes() == b"open"
    default, plain = (weights_record("gland", bundles, path) for path in weights_files("gland", bundles))
    assert (default.kind, default.training_data) == ("research", "photographs")
    assert not default.trained_on_simulated_patients
    assert (plain.kind, plain.training_data) == ("open", "simulated views")
    assert default.file_sha256 == file_sha256(path) != plain.file_sha256


def test_research_weights_without_their_record_are_refused_by_name(bundles):
    (add_research(bundles).parent / "weights.json").unlink()
    with pytest.raises(InputError, match=r"weights\.json"):
        weights_record("gland", bundles)
