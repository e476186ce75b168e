"""Images in a real MRML scene: grey and colour, any orientation, calibrated, and out again pixel for pixel."""

import json

import numpy as np
import pytest
import slicer
import vtk
from dicom_examples import write_dicom
from scene_helpers import a_view, contents

from LLNMLib import cine, rasters, ultrasound
from LLNMLib.interfaces import LogicError

FULL = (0, 0, 79, 59)
LEFT, RIGHT = (0, 0, 39, 59), (40, 0, 79, 59)


@pytest.fixture
def read_by_llnm(llnm, tmp_path):
    """What `llnm` itself reads from a file: pixels, spacing, who says so, region and warnings."""

    def read(path):
        code = """
import json, sys
import numpy as np
from llnm.imaging import load_image
image = load_image(sys.argv[1])
np.save(sys.argv[2], image.pixels)
box = image.region
region = None if box is None else [box.top, box.left, box.bottom, box.right]
print(json.dumps([image.spacing_mm, image.spacing_source, region, image.warnings]))
"""
        done = llnm(code, path, tmp_path / "pixels.npy", program=("-c",))
        return np.load(tmp_path / "pixels.npy"), json.loads(done.stdout)

    return read


def write(path, pixels):
    """Any format that this test can write without a library of its own."""
    if path.suffix == ".nrrd":
        ultrasound.write_nrrd(path, pixels[None], (0.081, 0.072))
        return path
    if path.suffix == ".dcm":
        return write_dicom(path, pixels, [(*FULL, 0.0072, 0.0081)])
    writer = {".png": vtk.vtkPNGWriter, ".bmp": vtk.vtkBMPWriter}[path.suffix]()
    writer.SetFileName(str(path))
    writer.SetInputData(ultrasound.image_of(pixels[None, ::-1]))
    writer.Write()
    return path


GREY_AND_COLOUR = [(suffix, colour) for suffix in (".png", ".nrrd", ".dcm") for colour in (False, True)]


@pytest.mark.parametrize(("suffix", "colour"), [*GREY_AND_COLOUR, (".bmp", True)])
def test_an_image_lies_in_the_scene_as_its_file_stores_it(logic, tmp_path, suffix, colour):
    pixels = a_view(colour=colour)
    node = logic.load_image(write(tmp_path / f"view{suffix}", pixels)).node
    assert node.IsA("vtkMRMLVectorVolumeNode") == colour
    assert np.array_equal(ultrasound.pixels_of(node), pixels)
    assert node.GetImageData().GetDimensions() == (80, 60, 1)


def test_a_file_in_the_scene_and_the_file_itself_are_the_same_to_llnm(logic, tmp_path, read_by_llnm):
    """A DICOM file with two joined regions has everything: spacing, its source, a region, a warning."""
    regions = [(*LEFT, 0.007, 0.007), (*RIGHT, 0.007, 0.007)]
    path = write_dicom(tmp_path / "two.dcm", a_view(colour=True), regions)
    node = logic.load_image(path).node
    ultrasound.write_frame(node, tmp_path / "frame.nrrd")
    pixels, about = read_by_llnm(path)
    again, about_again = read_by_llnm(tmp_path / "frame.nrrd")
    assert np.array_equal(pixels, again)
    assert about == about_again
    assert about[0] == [0.07, 0.07]
    assert "2 B-mode regions" in about[3][0]


def test_several_regions_give_their_spacing_where_the_files_own_is_another(logic, tmp_path):
    regions = [(*LEFT, 0.007, 0.009), (*RIGHT, 0.007, 0.009)]
    loaded = logic.load_image(write_dicom(tmp_path / "two.dcm", a_view(), regions, spacing=(0.5, 0.5)))
    assert loaded.node.GetSpacing()[:2] == (pytest.approx(0.07), pytest.approx(0.09))
    assert loaded.spacing_source == "DICOM SequenceOfUltrasoundRegions"
    assert any("0.09 x 0.07 mm" in note for note in loaded.notes)


def test_a_spacing_that_slicer_kept_silently_is_corrected_and_said(logic, scene, tmp_path):
    regions = [(*LEFT, 0.007, 0.007), (*RIGHT, 0.007, 0.007)]
    path = write_dicom(tmp_path / "two.dcm", a_view(), regions, spacing=(0.5, 0.5))
    node = as_slicer_loads(scene, path)
    node.SetSpacing(0.5, 0.5, 1)
    notes = logic.calibrate(node)
    assert node.GetSpacing()[:2] == (pytest.approx(0.07), pytest.approx(0.07))
    assert "corrected from 0.5 x 0.5 mm to 0.07 x 0.07 mm" in notes[0]
    assert logic.calibrate(node) == ()


def test_regions_of_different_spacing_are_not_guessed(logic, tmp_path):
    regions = [(*LEFT, 0.007, 0.007), (*RIGHT, 0.01, 0.01)]
    loaded = logic.load_image(write_dicom(tmp_path / "two.dcm", a_view(), regions, spacing=(0.5, 0.5)))
    assert loaded.spacing_source == "none"
    assert loaded.node.GetSpacing()[:2] == (1, 1)
    assert any("different spacing" in note for note in loaded.notes)
    assert any("give millimetres" in note for note in loaded.notes)


def test_calibration_leaves_alone_what_is_no_dicom_or_of_another_size(logic, scene, tmp_path):
    other = write_dicom(tmp_path / "other.dcm", a_view(40, 40), [(0, 0, 39, 39, 0.007, 0.007)])
    node = as_slicer_loads(scene, write_dicom(tmp_path / "one.dcm", a_view(), []))
    node.GetStorageNode().SetFileName(str(other))
    before = node.GetSpacing()
    assert logic.calibrate(node) == ()
    node.GetStorageNode().SetFileName(str(tmp_path / "gone.dcm"))
    assert logic.calibrate(node) == ()
    assert node.GetSpacing() == before


def test_a_spacing_given_by_hand_is_told_from_what_the_file_says(logic, tmp_path):
    node = logic.load_image(write_dicom(tmp_path / "one.dcm", a_view(), [(*FULL, 0.007, 0.007)])).node
    assert ultrasound.spacing_given_by_hand(node) is None
    logic.set_spacing(node, 0.1)
    assert ultrasound.spacing_given_by_hand(node) == 0.1
    assert ultrasound.declared_of(node).spacing_mm == (0.07, 0.07)


@pytest.mark.parametrize("spacing", [0, -1, 5, float("nan")])
def test_a_spacing_that_no_machine_has_is_refused(logic, tmp_path, spacing):
    path = write(tmp_path / "view.png", a_view())
    with pytest.raises(LogicError, match="millimetres per pixel"):
        logic.load_image(path, spacing)
    assert logic.scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == 0


def test_rows_and_columns_stay_whatever_the_direction_of_the_volume(scene, tmp_path, read_by_llnm):
    """All 48 ways in which axes can lie: what goes to `llnm` is what the file stores."""
    pixels = a_view()
    written = set()
    for seed in range(48):
        rng = np.random.default_rng(seed)
        directions = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        node = ultrasound.new_volume(pixels, "view")
        node.SetSpacing(0.07, 0.09, 1)
        node.SetIJKToRASDirections(*directions.ravel())
        scene.AddNode(node)
        ultrasound.write_frame(node, tmp_path / "frame.nrrd")
        written.add((tmp_path / "frame.nrrd").read_bytes())
    assert len(written) == 1
    read, about = read_by_llnm(tmp_path / "frame.nrrd")
    assert np.array_equal(np.rint(read * 255), pixels)
    assert about[0] == pytest.approx([0.09, 0.07])


def test_a_stack_of_slices_is_no_view_and_the_remedy_is_told(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "stack")
    slicer.util.updateVolumeFromArray(node, np.zeros((3, 40, 50), np.uint8))
    with pytest.raises(LogicError, match=r"stack: it holds 3 slices.*sequence"):
        ultrasound.pixels_of(node)


@pytest.mark.parametrize("name", ["missing.png", "text.png", "text.dcm", "text.nrrd", "text.xyz"])
def test_a_file_that_is_no_image_leaves_the_scene_as_it_was(logic, tmp_path, name):
    if name != "missing.png":
        (tmp_path / name).write_text("no image at all" * 20, encoding="utf-8")
    before = contents(logic.scene)
    with pytest.raises(LogicError) as raised:
        logic.load_image(tmp_path / name)
    assert name in raised.value.problem.message
    assert raised.value.problem.remedy
    assert contents(logic.scene) == before


def test_a_loop_becomes_a_sequence_with_its_times_and_its_spacing(logic, tmp_path):
    frames = np.stack([a_view(seed=seed, colour=True) for seed in range(3)])
    path = write_dicom(tmp_path / "loop.dcm", frames, [(*FULL, 0.007, 0.007)], FrameTime="40")
    sequence = logic.load_image(path).node
    assert sequence.IsA("vtkMRMLSequenceNode")
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")
    assert [sequence.GetNthIndexValue(n) for n in range(3)] == ["0.0000", "0.0400", "0.0800"]
    for number in range(3):
        volume = sequence.GetNthDataNode(number)
        assert np.array_equal(ultrasound.pixels_of(volume), frames[number])
        assert volume.GetSpacing()[:2] == (pytest.approx(0.07), pytest.approx(0.07))
    shown = cine.browser_of(logic.scene, sequence).GetProxyNode(sequence)
    assert np.array_equal(ultrasound.pixels_of(shown), frames[0])


def test_a_study_is_loaded_in_its_order_and_what_fails_is_named(logic, tmp_path):
    for number, name in ((2, "a.dcm"), (1, "b.dcm")):
        region = [(*FULL, 0.007, 0.007)]
        write_dicom(tmp_path / name, a_view(seed=number), region, SeriesNumber=1, InstanceNumber=number)
    write_dicom(tmp_path / "ct.dcm", a_view(), Modality="CT")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    broken = write_dicom(tmp_path / "c.dcm", a_view(), SeriesNumber=2)
    broken.write_bytes(broken.read_bytes()[:-2000])
    loaded = logic.load_study(tmp_path)
    assert [image.node.GetName() for image in loaded][:2] == ["b", "a"]
    names = [image.node.GetName() for image in loaded]
    assert "ct" not in names
    assert "c" in names or any("c.dcm" in note for note in loaded[0].notes)


def test_masks_go_to_png_and_back_without_a_change(tmp_path):
    mask = a_view(37, 53) > 128
    rasters.write_mask(tmp_path / "mask.png", mask)
    assert np.array_equal(rasters.read_mask(tmp_path / "mask.png"), mask)


def as_slicer_loads(scene, path):
    """A volume with its storage node, as Slicer's own loader makes it."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", path.stem)
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    assert storage.ReadData(node)
    node.SetAndObserveStorageNodeID(storage.GetID())
    return node
