"""Masks as segmentations in a real scene: aligned, named by SNOMED, corrected, saved and read again."""

import itertools

import numpy as np
import pytest
import slicer
from scene_helpers import a_view, contents

from LLNMLib import masks, ultrasound
from LLNMLib.interfaces import LogicError

SHAPE = (60, 80)


def a_mask(top=10, left=15, bottom=40, right=60):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    mask[top, left] = False  # no symmetry that would hide a flip
    return mask


def volume_in(scene, directions=((-1, 0, 0), (0, -1, 0), (0, 0, 1))):
    node = ultrasound.new_volume(a_view(), "view")
    node.SetSpacing(0.07, 0.09, 1)
    node.SetOrigin(12.3, -4.5, 6.7)
    node.SetIJKToRASDirections(*np.ravel(directions))
    return scene.AddNode(node)


def drawn(scene, volume, **found):
    node = scene.AddNode(masks.new_segmentation("masks"))
    masks.draw(node, volume, found)
    return node


def edit(segmentation, volume, structure, mask):
    """What Segment Editor does: another binary labelmap for a segment."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(masks._oriented(volume, mask), segmentation, structure, logic.MODE_REPLACE)


def test_masks_come_back_pixel_for_pixel_in_every_orientation(scene):
    gland, nodule = a_mask(), a_mask(20, 25, 30, 35)
    for order in itertools.permutations(range(3)):
        for signs in itertools.product([-1, 1], repeat=3):
            volume = volume_in(scene, np.eye(3)[list(order)] * signs)
            node = drawn(scene, volume, gland=gland, nodule=nodule)
            assert np.array_equal(masks.mask_of(node, "gland", volume), gland), (order, signs)
            assert np.array_equal(masks.mask_of(node, "nodule", volume), nodule), (order, signs)


def test_a_nodule_inside_the_gland_takes_nothing_from_it(scene):
    volume = volume_in(scene)
    node = drawn(scene, volume, nodule=a_mask(20, 25, 30, 35))
    masks.draw(node, volume, {"gland": a_mask()})
    assert masks.mask_of(node, "gland", volume).sum() == a_mask().sum()
    assert masks.mask_of(node, "nodule", volume).sum() == a_mask(20, 25, 30, 35).sum()


def test_segments_lie_on_the_image_in_space(scene):
    """The centre of a mask in millimetres, once by the image's geometry and once by the segment's."""
    volume = volume_in(scene, [(0, 0, 1), (-1, 0, 0), (0, -1, 0)])
    node = drawn(scene, volume, nodule=a_mask())
    rows, columns = np.nonzero(a_mask())
    matrix = slicer.vtkMRMLSliceNode().GetXYToRAS()
    volume.GetIJKToRASMatrix(matrix)
    expected = matrix.MultiplyPoint([columns.mean(), rows.mean(), 0, 1])[:3]
    assert node.GetSegmentCenterRAS("nodule") == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("structure", "code"), [("gland", "69748006"), ("nodule", "27925004")])
def test_segments_carry_snomed_terms_names_and_colours(scene, structure, code):
    node = drawn(scene, volume_in(scene), **{structure: a_mask()})
    segment = node.GetSegmentation().GetSegment(structure)
    entry = masks._tag(segment, segment.GetTerminologyEntryTagName())
    context, category, kind, modifier, anatomic_context, region, region_modifier = entry.split("~")
    assert kind.split("^")[:2] == ["SCT", code]
    assert category.startswith("SCT^")
    assert (modifier, region_modifier) == ("^^", "^^")
    assert "DICOM master list" in context
    assert "DICOM master list" in anatomic_context
    assert ("69748006" in region) == (structure == "nodule")
    assert segment.GetName() in {"Thyroid gland", "Nodule"}
    assert segment.GetColor() != (0.5, 0.5, 0.5)


def test_what_the_network_drew_is_no_correction_and_one_pixel_more_is(scene):
    volume = volume_in(scene)
    node = drawn(scene, volume, gland=a_mask(), nodule=a_mask(20, 25, 30, 35))
    assert masks.corrected(node, "nodule", volume) is None
    more = a_mask(20, 25, 30, 35)
    more[31, 26] = True
    edit(node, volume, "nodule", more)
    assert np.array_equal(masks.corrected(node, "nodule", volume), more)
    assert masks.corrected(node, "gland", volume) is None


def test_what_a_server_drew_is_handed_on_like_a_correction(scene):
    volume = volume_in(scene)
    node = scene.AddNode(masks.new_segmentation("masks"))
    masks.draw(node, volume, {"nodule": a_mask()}, masks.SERVER)
    assert np.array_equal(masks.corrected(node, "nodule", volume), a_mask())


def test_an_emptied_or_removed_segment_is_drawn_anew(scene):
    volume = volume_in(scene)
    node = drawn(scene, volume, gland=a_mask(), nodule=a_mask())
    edit(node, volume, "nodule", np.zeros(SHAPE, bool))
    masks.erase(node, "gland")
    assert masks.corrected(node, "nodule", volume) is None
    assert masks.corrected(node, "gland", volume) is None


def test_a_mask_of_another_size_is_refused_and_changes_nothing(scene):
    volume = volume_in(scene)
    node = drawn(scene, volume, nodule=a_mask())
    before = contents(scene)
    with pytest.raises(LogicError, match="80 x 60"):
        masks.draw(node, volume, {"nodule": np.ones((10, 10), bool)})
    assert contents(scene) == before


def test_a_segmentation_file_keeps_masks_names_and_terms(scene, tmp_path):
    volume = volume_in(scene)
    node = drawn(scene, volume, gland=a_mask(), nodule=a_mask(20, 25, 30, 35))
    masks.write_segmentation(node, tmp_path / "masks.seg.nrrd")
    again = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "again")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "masks.seg.nrrd"))
    assert storage.ReadData(again)
    assert np.array_equal(masks.mask_of(again, "nodule", volume), a_mask(20, 25, 30, 35))
    assert np.array_equal(masks.mask_of(again, "gland", volume), a_mask())
    segment = again.GetSegmentation().GetSegment("nodule")
    assert masks._tag(segment, segment.GetTerminologyEntryTagName()) == masks.terminology_entry("nodule")
    assert masks.corrected(again, "nodule", volume) is None


def test_writing_to_a_folder_that_is_not_there_is_said(scene, tmp_path):
    node = drawn(scene, volume_in(scene), nodule=a_mask())
    with pytest.raises(LogicError, match="cannot be written"):
        masks.write_segmentation(node, tmp_path / "nowhere" / "masks.seg.nrrd")
