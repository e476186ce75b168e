"""Chance that can be repeated. Comes in: names and a seed. Goes out: their order, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def shuffled(names: Iterable[str], seed: int) -> list[str]:
    """`names` in an order that hangs on the seed and each name alone, so that a new one moves no old ones."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


def share(seed: int, patient: str) -> float:
    """A number of 0 to 1 that hangs on seed and patient alone."""
    digest = hashlib.sha256(f"validation/{seed}/{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
