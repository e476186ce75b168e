"""A NRRD file hands on what its original file said: spacing, region and warnings."""

import json

import numpy as np
import pytest

from llnm.case import Box
from llnm.errors import InputError
from llnm.imaging import load_image


def write(path, field=None, shape=(40, 50)):
    values = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    header = f"NRRD0005\ntype: unsigned char\ndimension: 2\nsizes: {shape[1]} {shape[0]}\nspacings: 0.5 0.5\n"
    header += "encoding: raw\n" + (f"llnm:={field}\n" if field is not None else "") + "\n"
    path.write_bytes(header.encode() + values.tobytes())
    return path, values


def declared(**changes):
    known = {"spacing_mm": [0.07, 0.08], "spacing_source": "DICOM X", "region": [1, 2, 30, 40], "warnings": ["so"]}
    return json.dumps({**known, **changes})


def test_what_the_field_says_goes_before_the_header(tmp_path):
    path, values = write(tmp_path / "frame.nrrd", declared())
    image = load_image(path)
    assert (image.spacing_mm, image.spacing_source) == ((0.07, 0.08), "DICOM X")
    assert image.region == Box(1, 2, 30, 40)
    assert image.warnings == ("so",)
    assert np.array_equal(np.rint(image.pixels * 255), values)


def test_a_spacing_declared_as_unknown_is_unknown(tmp_path):
    image = load_image(write(tmp_path / "frame.nrrd", declared(spacing_mm=None, spacing_source="none", region=None))[0])
    assert (image.spacing_mm, image.spacing_source, image.region) == (None, "none", None)


def test_without_the_field_the_header_counts(tmp_path):
    image = load_image(write(tmp_path / "frame.nrrd")[0])
    assert (image.spacing_mm, image.spacing_source) == ((0.5, 0.5), "file header")


def test_a_spacing_given_by_hand_goes_first_and_the_difference_is_told(tmp_path):
    image = load_image(write(tmp_path / "frame.nrrd", declared())[0], spacing_mm=0.2)
    assert (image.spacing_mm, image.spacing_source) == ((0.2, 0.2), "given by hand")
    assert "differs" in image.warnings[-1]


@pytest.mark.parametrize("field", ["{", "[]", "{}", declared(region=[0, 0, 41, 10]), declared(spacing_mm=[1])])
def test_a_field_that_makes_no_sense_is_refused_by_name(tmp_path, field):
    with pytest.raises(InputError, match=r"frame\.nrrd: its header field 'llnm'"):
        load_image(write(tmp_path / "frame.nrrd", field)[0])
