"""Runs in the environment of slicer-core: loads volumes and segmentations as 3D Slicer does, and prints their grids.

Comes in: a JSON list of [image, label] paths. Goes out: a JSON list of what a scene holds after loading each pair.
"""

import json
import sys

import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy


def load(node_class, storage_class, path):
    """A node from a file, by the storage node that Slicer's file dialog uses."""
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass(node_class)
    storage = scene.AddNewNodeByClass(storage_class)
    storage.SetFileName(path)
    assert storage.ReadData(node), f"{path} cannot be loaded"
    return scene, node


def matrix(fill):
    """The 16 numbers of a matrix that `fill` fills."""
    values = vtk.vtkMatrix4x4()
    fill(values)
    return [round(values.GetElement(row, column), 6) for row in range(4) for column in range(4)]


def grid_of_volume(path, node_class="vtkMRMLScalarVolumeNode"):
    """Size and IJK-to-RAS matrix of a volume."""
    _scene, node = load(node_class, "vtkMRMLNRRDStorageNode", path)
    components = node.GetImageData().GetNumberOfScalarComponents()
    return {
        "size": node.GetImageData().GetDimensions(),
        "to_ras": matrix(node.GetIJKToRASMatrix),
        "components": components,
    }


def grids_of_segments(path):
    """Of each segment: name, terminology, size of its grid, matrix, number of pixels, and its centre in RAS."""
    _scene, node = load("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode", path)
    segmentation = node.GetSegmentation()
    segments = []
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        image = segment.GetRepresentation("Binary labelmap")
        values = vtk_to_numpy(image.GetPointData().GetScalars()) == segment.GetLabelValue()
        tag = vtk.reference("")
        segment.GetTag("TerminologyEntry", tag)
        segments.append(
            {
                "name": segment.GetName(),
                "terminology": str(tag),
                "size": image.GetDimensions(),
                "extent": image.GetExtent(),
                "to_ras": matrix(image.GetImageToWorldMatrix),
                "pixels": int(values.sum()),
            }
        )
    return segments


def main():
    """Load each pair."""
    answer = []
    for image, label in json.loads(sys.argv[1]):
        node_class = "vtkMRMLVectorVolumeNode" if "rgb" in image else "vtkMRMLScalarVolumeNode"
        labels = grid_of_volume(label, "vtkMRMLLabelMapVolumeNode")
        answer.append(
            {"image": grid_of_volume(image, node_class), "label": labels, "segments": grids_of_segments(label)}
        )
    print("ANSWER " + json.dumps(answer))


main()
