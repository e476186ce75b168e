"""Networks that go on learning from the team's labels, and the versions that came of it.

Comes in: labelled images. Goes out: a published version where it is no worse than the one in use, and a record of why.
"""

from lib.trainers.finetune import FineTune, LabelledImage
from lib.trainers.versions import Versions

__all__ = ["FineTune", "LabelledImage", "Versions"]
