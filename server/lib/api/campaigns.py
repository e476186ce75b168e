"""How the campaign's routes know who sends a request. Comes in: a request. Goes out: the campaign's `Person`."""

from __future__ import annotations

from lib.api.parts import Sender
from lib.campaign.api import Person


def person(sender: Sender) -> Person:
    """The sender, as the campaign knows people."""
    return Person(sender.name, reviewer=sender.may("reviewer"))
