"""The radiology report as word vectors.

Comes in: reports in any language, or None where there is none. Goes out: (B, T, 768) vectors and a mask of the real
tokens, from a BERT model that lies in a local folder.
"""

from __future__ import annotations

from llnm.text.encoder import LENGTHS, WIDTH, Length, ReportEncoder

__all__ = ["LENGTHS", "WIDTH", "Length", "ReportEncoder"]
