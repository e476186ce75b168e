"""Annotated frames to train on."""

import pytest


@pytest.fixture
def few_images(data, tmp_path):
    """Eight annotated frames with their table of cases."""
    for folder, ending in (("images", ".jpg"), ("nodule", ".png")):
        (tmp_path / folder).mkdir()
        for path in sorted((data / "ddti" / folder).glob(f"*{ending}"))[:8]:
            (tmp_path / folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "cases.csv").write_bytes((data / "ddti" / "cases.csv").read_bytes())
    return tmp_path
