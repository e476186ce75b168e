"""The models that annotators call: nodule, gland, joint, interactive, cine. None has a method of its own.

Comes in: a request of MONAILabel. Goes out: a label map on the image's grid and what `llnm segment` says of it.
"""

from lib.infers.tasks import CineTask, InteractiveTask, StructureTask, build_tasks

__all__ = ["CineTask", "InteractiveTask", "StructureTask", "build_tasks"]
