"""Campaigns of annotation: leases, labels of several readers, agreement, learning curve, export and audit log.

Comes in: a folder, images with their patients, annotators and their labels. Goes out: an agreed set of masks that
`llnm train` reads, and a record of how it came about. Needs nothing of MONAILabel.
"""

from lib.campaign.campaign import Campaign
from lib.campaign.errors import CampaignError, LeaseLostError, NotAllowedError, TooLargeError, UnknownError
from lib.campaign.types import (
    CONSENSUS,
    AgreedLabel,
    Disagreement,
    Lease,
    PoolImage,
    Receipt,
    Settings,
    State,
    Strategy,
)

__all__ = [
    "CONSENSUS",
    "AgreedLabel",
    "Campaign",
    "CampaignError",
    "Disagreement",
    "Lease",
    "LeaseLostError",
    "NotAllowedError",
    "PoolImage",
    "Receipt",
    "Settings",
    "State",
    "Strategy",
    "TooLargeError",
    "UnknownError",
]
