"""The logic of the Slicer module LLNM: it needs a scene, and neither Qt nor torch.

Comes in: nodes of a MRML scene. Goes out: nodes with masks, risk, reasons and place of one or several patients. Start
at `LLNMLib.logic`. Research use only; not a medical device.
"""

NOTICE = "Research use only; not a medical device."
SIMULATED = (
    "The shipped LLNM weights are trained on simulated patients: their risk is a demonstration, not an estimate."
)
