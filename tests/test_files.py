"""Files are written whole or not at all."""

import numpy as np
import pytest
from PIL import Image

from llnm.errors import InputError
from llnm.files import whole_file, write_mask, write_text


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_mask_is_written_whole_or_refused(tmp_path):
    mask = np.random.default_rng(3).random((37, 53)) > 0.5
    write_mask(tmp_path / "new" / "mask.png", mask)
    with Image.open(tmp_path / "new" / "mask.png") as image:
        assert np.array_equal(np.asarray(image), mask * 255)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    for target in (tmp_path / "file" / "mask.png", tmp_path / "new"):
        with pytest.raises(InputError, match=target.name):
            write_mask(target, mask)
    assert names(tmp_path) == {"file", "new/mask.png"}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_the_older_file_and_nothing_else(tmp_path, stop):
    write_text(tmp_path / "record.json", "whole")
    with pytest.raises(stop), whole_file(tmp_path / "record.json") as temporary:
        temporary.write_text("ha", encoding="utf-8")
        raise stop
    assert names(tmp_path) == {"record.json"}
    assert (tmp_path / "record.json").read_text(encoding="utf-8") == "whole"
