"""TMDL, the network that joins images, report, age and sex into one risk.

Comes in: word vectors, feature images and single values. Goes out: logits, pooled features, attention.
"""

from llnm.tmdl.config import INPUTS, TMDLConfig, preset_config
from llnm.tmdl.network import TMDL, TMDLOutput

__all__ = ["INPUTS", "TMDL", "TMDLConfig", "TMDLOutput", "preset_config"]
