"""LLNM: risk of lateral lymph node metastasis from thyroid ultrasound, with its reasons. Research use only.

Names are resolved on first use, so that `import llnm` loads neither torch nor monai.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
# Stands on every output.
NOTICE = "Research use only; not a medical device."

_HOME = {
    "Case": "llnm.case",
    "View": "llnm.case",
    "UltrasoundImage": "llnm.case",
    "load_image": "llnm.imaging",
    "segment": "llnm.segmentation",
    "predict": "llnm.pipeline",
    "evaluate": "llnm.evaluation",
}
__all__ = ["Case", "UltrasoundImage", "View", "__version__", "evaluate", "load_image", "predict", "segment"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'llnm' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
