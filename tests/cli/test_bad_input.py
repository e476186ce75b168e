"""Whatever a user gives that cannot be used: one line that names it and the remedy, exit code 2, nothing written."""

import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

LUNG = np.random.default_rng(0)


def speckle(path, size=(120, 160), **options):
    """A frame that is grey noise, which every reader accepts."""
    Image.fromarray(LUNG.integers(20, 220, size, dtype=np.uint8)).save(path, **options)
    return path


def mask(path, box, size=(120, 160)):
    pixels = np.zeros(size, np.uint8)
    pixels[box[0] : box[2], box[1] : box[3]] = 255
    Image.fromarray(pixels).save(path)
    return path


def png_header(path, width, height):
    """A PNG that says it is `width` x `height` and stops after a little data."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)))
    return path


def dicom(path, **elements):
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UltrasoundImageStorage, generate_uid()
    dataset.Modality, dataset.PatientName, dataset.PatientID = "US", "Doe^Jane", "SECRET-4711"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    options = (
        {"enforce_file_format": True} if int(pydicom.__version__.split(".")[0]) >= 3 else {"write_like_original": False}
    )
    if options.get("write_like_original") is False:
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
    dataset.save_as(path, **options)
    return path


@pytest.fixture
def refused(llnm, tmp_path):
    """Run `predict` and check what holds of every refusal; gives its line."""

    def run(*arguments, names):
        out = tmp_path / "result"
        code, _, err = llnm("predict", "--out", out, *arguments)
        lines = err.strip().splitlines()
        assert code == 2, err
        assert len(lines) == 1, err
        assert "Traceback" not in err
        for name in names:
            assert name in lines[0], lines[0]
        assert not out.exists(), "something was left behind"
        return lines[0]

    return run


IMAGES = {
    "missing": (lambda p: p / "frame.png", "frame.png"),
    "empty": (lambda p: ((p / "frame.png").write_bytes(b"") and None) or p / "frame.png", "frame.png"),
    "text": (lambda p: (p / "frame.png").write_text("not an image at all " * 50) and p / "frame.png", "frame.png"),
    "truncated png": (
        lambda p: (p / "frame.png").write_bytes(speckle(p / "whole.png").read_bytes()[:3000]) and p / "frame.png",
        "frame.png",
    ),
    "truncated jpeg": (
        lambda p: (p / "frame.jpg").write_bytes(speckle(p / "whole.jpg").read_bytes()[:2000]) and p / "frame.jpg",
        "frame.jpg",
    ),
    "1x1": (lambda p: speckle(p / "frame.png", (1, 1)), "frame.png"),
    "20,000x20,000": (lambda p: png_header(p / "frame.png", 20_000, 20_000), "too many pixels"),
    "one grey": (lambda p: Image.new("L", (200, 150), 90).save(p / "frame.png") or p / "frame.png", "blank"),
    "a folder": (lambda p: p, "folder"),
    "DICOM without pixels": (lambda p: dicom(p / "frame.dcm"), "frame.dcm"),
    "unknown type": (
        lambda p: (p / "frame.docx").write_bytes(b"PK\x03\x04" + bytes(900)) and p / "frame.docx",
        "frame.docx",
    ),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_that_cannot_be_used_is_named(kind, refused, tmp_path):
    make, name = IMAGES[kind]
    folder = tmp_path / "given"
    folder.mkdir()
    line = refused("--transverse", make(folder), names=[name])
    assert "SECRET" not in line
    assert "Doe" not in line


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--age", "0"], ["age", "1-120"]),
        (["--age", "130"], ["age", "1-120"]),
        (["--age", "n/a"], ["age", "n/a"]),
        (["--age", "nan"], ["age"]),
        (["--sex", "X"], ["sex", "F or M"]),
        (["--spacing", "5"], ["spacing", "millimetres"]),
        (["--spacing", "0"], ["spacing"]),
        (["--spacing", "abc"], ["spacing"]),
        (["--transverse-point", "12"], ["--transverse-point", "X,Y"]),
        (["--threshold", "1.5"], ["threshold"]),
        (["--explain", "everything"], ["explain", "none"]),
        (["--preset", "papre"], ["preset", "papre"]),
        (["--report-text", "a", "--report", "b.txt"], ["report"]),
        (["--report", "nowhere.txt"], ["nowhere.txt"]),
        (["--calibration", "nowhere.json"], ["nowhere.json", "llnm calibrate"]),
        (["--weights", "nowhere"], ["nowhere"]),
        (["--report-encoder", "nowhere"], ["nowhere"]),
        (["--report-text", "x" * 200_000], ["report", "200000"]),
    ],
)
def test_a_value_that_cannot_be_used_is_named(arguments, names, refused, tmp_path):
    refused("--transverse", speckle(tmp_path / "frame.png"), *arguments, names=names)


def test_masks_that_do_not_fit_are_named(refused, tmp_path):
    frame = speckle(tmp_path / "frame.png")
    small = mask(tmp_path / "small.png", (10, 10, 20, 20), size=(60, 80))
    empty = mask(tmp_path / "empty.png", (0, 0, 0, 0))
    nodule, gland = mask(tmp_path / "nodule.png", (10, 10, 30, 30)), mask(tmp_path / "gland.png", (60, 60, 110, 150))
    transverse = ["--transverse", frame]
    refused(*transverse, "--transverse-nodule-mask", small, names=["small.png", "60", "120"])
    refused(*transverse, "--transverse-nodule-mask", empty, names=["empty.png"])
    both = ["--transverse-nodule-mask", nodule, "--transverse-gland-mask", gland]
    refused(*transverse, *both, names=["transverse nodule mask", "outside"])
    refused(*transverse, "--longitudinal-nodule-mask", nodule, names=["--longitudinal"])
    refused(*transverse, "--transverse-nodule-mask", nodule, "--transverse-point", "100,100", names=["point"])
    refused(*transverse, "--transverse-nodule-mask", nodule, "--transverse-point", "999,1", names=["point", "160x120"])


def test_no_view_at_all_is_refused(refused):
    refused("--age", "40", names=["views"])


def test_a_calibration_that_is_none_is_refused(refused, tmp_path):
    wrong = tmp_path / "site.json"
    wrong.write_text('{"name": "site", "slope": -1, "intercept": 0}', encoding="utf-8")
    refused("--transverse", speckle(tmp_path / "frame.png"), "--calibration", wrong, names=["site.json", "slope"])


def test_weights_that_are_none_are_refused(refused, tmp_path):
    bundle = tmp_path / "bundles" / "thyroid_llnm_prediction"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text("{", encoding="utf-8")
    refused("--transverse", speckle(tmp_path / "frame.png"), "--weights", tmp_path / "bundles", names=["metadata.json"])


def test_an_output_that_cannot_be_a_folder_is_named(llnm, tmp_path):
    place = tmp_path / "taken"
    place.write_text("a file", encoding="utf-8")
    code, _, err = llnm("predict", "--transverse", speckle(tmp_path / "frame.png"), "--out", place / "result")
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "taken" in err
    assert place.read_text(encoding="utf-8") == "a file"


def test_a_full_disk_leaves_nothing_behind(tmp_path, patient_files):
    """A file-size limit stands for the full disk: the operating system refuses the write half-way."""
    script = (
        "import resource, signal, sys\n"
        "from llnm.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "main()\n"
    )
    out = tmp_path / "result"
    arguments = ["predict", "--transverse", patient_files["transverse"], "--out", str(out)]
    arguments += ["--transverse-nodule-mask", patient_files["transverse_nodule_mask"]]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "result" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["segment", "features"])
def test_the_other_commands_refuse_alike(command, llnm, tmp_path):
    frame = tmp_path / "frame.png"
    frame.write_text("no image", encoding="utf-8")
    out = tmp_path / "out"
    extra = ["--nodule-mask", frame] if command == "features" else []
    code, _, err = llnm(command, frame, *extra, "--out", out)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert "frame.png" in err
    assert not out.exists()


def test_a_misspelt_option_is_exit_code_2(llnm):
    assert llnm("predict", "--transvers", "x.png")[0] == 2
