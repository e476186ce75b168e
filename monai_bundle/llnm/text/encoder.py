"""Word vectors of reports by a BERT model from a local folder.

Comes in: reports, or None. Goes out: (B, T, 768) float32 vectors, zero where the mask (B, T) is False. LLNM-Net takes
BERT vectors of at most 50 tokens (Shen et al., Nat Commun 16, 7052, 2025, Methods). Nothing is ever downloaded.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from llnm.errors import InputError
from llnm.text.tokens import ReportTokenizer

Length = Literal["tokens", "characters"]
LENGTHS: tuple[Length, ...] = get_args(Length)
WIDTH = 768
MAXIMUM_TOKENS = 50

_CHUNK = 64
_UNKNOWN_LIMIT = 0.5


@dataclass(frozen=True)
class ReportEncoder:
    """A BERT model and its tokenizer, on the CPU, fixed."""

    tokenizer: ReportTokenizer
    model: nn.Module
    positions: int

    @classmethod
    def from_folder(cls, folder: Path) -> ReportEncoder:
        """Load a BERT folder: `config.json`, `model.safetensors`, and `tokenizer.json` or `vocab.txt`.

        Raises InputError where the folder is none, is incomplete, or has vectors of another width than 768.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise InputError(f"{folder}: no config.json there; give the folder of a BERT model")
        tokenizer = ReportTokenizer.from_folder(folder)
        try:
            model, missing = _load(folder, tokenizer)
        except InputError:
            raise
        except Exception as error:  # OSError, ValueError, and safetensors' own for a damaged file
            reason = (str(error).strip().splitlines() or ["unknown reason"])[0][:120]
            raise InputError(f"{folder}: the BERT model cannot be read ({reason}); give a whole BERT folder") from error
        if missing:
            raise InputError(f"{folder}: its weights are not those of its config.json; give a whole BERT folder")
        return cls(tokenizer, model.eval().requires_grad_(False), int(model.config.max_position_embeddings))

    @torch.no_grad()  # not inference mode: a network is trained on these vectors
    def encode(
        self, reports: Sequence[str | None], length: Length = "tokens", maximum: int = MAXIMUM_TOKENS
    ) -> tuple[Tensor, Tensor]:
        """Vectors (B, maximum, 768) float32 and mask (B, maximum) bool, True where a token is real.

        `tokens` keeps the first `maximum` tokens, `[CLS]` and `[SEP]` among them; `characters` reads only the first
        `maximum` characters, as the paper does. A report that is None or blank is all masked. Raises InputError for
        another length, or a maximum that this model has no positions for.
        """
        self._check_length(length, maximum)
        vectors = torch.zeros(len(reports), maximum, WIDTH)
        mask = torch.zeros(len(reports), maximum, dtype=torch.bool)
        numbers = torch.zeros(len(reports), maximum, dtype=torch.long)
        for row, report in enumerate(reports):
            found = self._numbers(report, length, maximum)
            numbers[row, : len(found)] = torch.tensor(found, dtype=torch.long)
            mask[row, : len(found)] = True
        given = torch.nonzero(mask.any(dim=1)).flatten()
        for begin in range(0, len(given), _CHUNK):
            rows = given[begin : begin + _CHUNK]
            longest = int(mask[rows].sum(dim=1).max())
            part = mask[rows, :longest]
            states = self.model(input_ids=numbers[rows, :longest], attention_mask=part.long()).last_hidden_state
            vectors[rows, :longest] = states * part.unsqueeze(-1)
        return vectors, mask

    def tokens(self, report: str | None, length: Length = "tokens", maximum: int = MAXIMUM_TOKENS) -> list[str]:
        """The tokens that `encode` gives vectors for, as text; empty for a missing report."""
        self._check_length(length, maximum)
        return self.tokenizer.words(self._numbers(report, length, maximum))

    def unknown_share(self, report: str | None) -> float:
        """Share of the report's tokens that this encoder does not know (0-1)."""
        return self.tokenizer.unknown_share(report or "")

    def warning(self, report: str | None) -> str | None:
        """A sentence to show where most of the report is unknown to this encoder, else None."""
        share = self.unknown_share(report)
        if share < _UNKNOWN_LIMIT:
            return None
        return f"report: {share:.0%} of its words are unknown to the text encoder; it hardly counts in the prediction"

    def _numbers(self, report: str | None, length: Length, maximum: int) -> list[int]:
        if report is None or not report.strip():
            return []
        text = report.strip()
        return self.tokenizer.numbers(text[:maximum] if length == "characters" else text, maximum)

    def _check_length(self, length: str, maximum: int) -> None:
        if length not in LENGTHS:
            raise InputError(f"report length: {length!r} is not known; choose {' or '.join(LENGTHS)}")
        if not 3 <= maximum <= self.positions:
            raise InputError(f"report length: {maximum} is outside 3-{self.positions} of this encoder; change it")


def _load(folder: Path, tokenizer: ReportTokenizer) -> tuple[Any, bool]:
    """The model without its heads, and whether weights are missing or of another shape."""
    # Imported here because it takes seconds, which a case without a report should not wait for.
    from transformers import AutoConfig, BertModel

    with _quiet():
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        _check(config, tokenizer, folder)
        # Loading sets the default dtype of the whole process to that of the file for a moment: a half precision file
        # would hand another thread, which encodes meanwhile, vectors of half precision.
        model, info = BertModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            add_pooling_layer=False,
            output_loading_info=True,
        )
    return model, bool(info["missing_keys"] or info.get("mismatched_keys"))


def _check(config: Any, tokenizer: ReportTokenizer, folder: Path) -> None:
    if config.model_type != "bert":
        raise InputError(f"{folder}: it holds a {config.model_type} model; give the folder of a BERT model")
    if config.hidden_size != WIDTH:
        raise InputError(f"{folder}: its vectors have width {config.hidden_size}; give a BERT model of width {WIDTH}")
    if tokenizer.tokenizer.get_vocab_size() > config.vocab_size:
        raise InputError(f"{folder}: its tokenizer has more words than its model; give a whole BERT folder")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the loading report of transformers (it lists heads that are not used here) and its progress bar."""
    from transformers.utils import logging as transformers_logging

    level, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()
