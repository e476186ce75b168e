"""A PACS: a real Orthanc with its DICOMweb plugin, images in, SEG objects back."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pictures
import pydicom
import pytest
import requests
from lib.client import AnnotationClient
from server_process import ServerProcess, free_port

PLUGINS = Path("/usr/lib/orthanc")


class Orthanc:
    """An Orthanc on loopback that can be stopped and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        configuration = {
            "Name": "test",
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(folder / "data"),
            "IndexDirectory": str(folder / "data"),
            "Plugins": [str(path) for path in PLUGINS.glob("libOrthancDicomWeb*.so*")],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))
        self.process = None

    def start(self) -> None:
        program = shutil.which("Orthanc")
        assert program, "Orthanc is not installed: apt-get install orthanc orthanc-dicomweb"
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([program, str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        for _ in range(600):
            try:
                requests.get(f"{self.address}/dicom-web/studies", timeout=5)
                return
            except requests.ConnectionError:
                assert self.process.poll() is None, (self.folder / "orthanc.log").read_text()
                time.sleep(0.1)
        raise AssertionError("Orthanc did not start")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def add(self, path: Path) -> None:
        requests.post(f"{self.address}/instances", data=path.read_bytes(), timeout=60).raise_for_status()

    def objects(self, modality: str) -> list[pydicom.Dataset]:
        """All instances of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}}
        found = requests.post(f"{self.address}/tools/find", json=query, timeout=60).json()
        files = (requests.get(f"{self.address}/instances/{one}/file", timeout=60).content for one in found)
        return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content)) for content in files]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """An Orthanc with a single frame, a colour frame and a loop of ultrasound in one series, and a CT."""
    folder = tmp_path_factory.mktemp("orthanc")
    pacs = Orthanc(folder)
    pacs.start()
    pixels = pictures.view()
    study, series = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    pacs.instances = {}
    for kind, values in {
        "single": pixels,
        "colour": pictures._in_colour(pixels, "rgb"),
        "loop": np.stack([pixels, pixels, pixels]),
    }.items():
        path = folder / f"{kind}.dcm"
        pacs.instances[kind] = pictures.write_dicom(path, values, "patient", study, series)
        pacs.add(path)
    other = folder / "ct.dcm"
    pictures.write_dicom(other, pixels)
    header = pydicom.dcmread(other)
    header.Modality, header.SOPClassUID = "CT", "1.2.840.10008.5.1.4.1.1.2"
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.save_as(other)
    pacs.add(other)
    yield pacs
    pacs.stop()


@pytest.fixture(scope="module")
def server(orthanc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pacs_server")
    process = ServerProcess(
        f"{orthanc.address}/dicom-web", folder / "server.log", ["--state", str(folder / "state")]
    ).start()
    yield process
    process.stop()


@pytest.fixture
def client(server):
    return AnnotationClient(server.address, annotator="reader")


def image_of(client, orthanc, kind):
    """The id of an image of the PACS."""
    return next(image for image in client.images() if orthanc.instances[kind] in image)


def drawn_on(client, image):
    """A nodule in a gland, in the second frame of a loop, in the only one of the others."""
    label = np.zeros(client.image(image).GetSize()[::-1], dtype=np.uint8)
    label[len(label) // 2, 50:90, 60:140], label[len(label) // 2, 60:70, 80:100] = 2, 1
    return label


def segs_of(orthanc, kind):
    """SEG objects that refer to an image."""
    return [seg for seg in orthanc.objects("SEG") if source_of(seg).ReferencedSOPInstanceUID == orthanc.instances[kind]]


def source_of(seg):
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    return frame.DerivationImageSequence[0].SourceImageSequence[0]


def test_ultrasound_is_shown_and_ct_is_not_without_any_setting(client, orthanc):
    images = list(client.images())
    assert len(images) == 3
    assert {kind for kind in orthanc.instances for image in images if orthanc.instances[kind] in image} == {
        "single",
        "colour",
        "loop",
    }


def test_inference_on_an_image_of_the_pacs_has_its_grid_and_its_calibration(client, orthanc):
    image = image_of(client, orthanc, "single")
    found, about = client.infer("nodule", image)
    copy = client.image(image)
    assert about["label_names"] == {"nodule": 1} and found.shape == copy.GetSize()[::-1]
    assert copy.GetSpacing()[:2] == pytest.approx(pictures.SPACING[::-1])


@pytest.mark.parametrize("kind", ["single", "colour", "loop"])
def test_a_submitted_label_comes_back_as_seg_with_snomed_codes(client, orthanc, kind):
    image = image_of(client, orthanc, kind)
    label = drawn_on(client, image)
    answer = client.submit(image, label, structures=["nodule", "gland"])
    assert answer["dicom_seg"] == "stored in the PACS"
    assert np.array_equal(client.label(image), label)
    (seg,) = segs_of(orthanc, kind)
    codes = {one.SegmentLabel: one.SegmentedPropertyTypeCodeSequence[0] for one in seg.SegmentSequence}
    assert {name: (code.CodeValue, code.CodingSchemeDesignator) for name, code in codes.items()} == {
        "Nodule": ("27925004", "SCT"),
        "Thyroid gland": ("69748006", "SCT"),
    }
    assert (seg.Rows, seg.Columns) == label.shape[1:]
    frame = label[len(label) // 2]
    by_segment = {
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber): pixels
        for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True)
    }
    assert np.array_equal(by_segment[1], frame == 1)
    assert np.array_equal(by_segment[2], frame > 0), "a nodule is part of the gland it lies in"
    if kind == "loop":
        assert source_of(seg).ReferencedFrameNumber == 2
    assert "not a medical device" in seg.SeriesDescription


def test_a_label_is_safe_while_the_pacs_is_away_and_is_sent_when_it_is_back(client, orthanc):
    image = image_of(client, orthanc, "single")
    before = len(segs_of(orthanc, "single"))
    label = drawn_on(client, image)
    label[0, 100:110, 30:40] = 1
    orthanc.stop()
    try:
        answer = client.submit(image, label, structures=["nodule", "gland"])
        assert answer["dicom_seg"] == "waiting for the PACS"
        assert np.array_equal(client.label(image), label)
    finally:
        orthanc.start()
    other = image_of(client, orthanc, "colour")
    client.submit(other, drawn_on(client, other), structures=["nodule", "gland"])
    assert len(segs_of(orthanc, "single")) == before + 1
