"""WordPiece tokens of a report.

Comes in: a BERT folder (`tokenizer.json` or `vocab.txt`) and text. Goes out: token numbers that always begin with
`[CLS]` and end with `[SEP]`. The special tokens are put in place here, because a tokenizer without a post-processor
adds none, and the file is read by `tokenizers`, because `BertTokenizerFast(vocab_file=...)` of transformers 5 yields
nothing but `[UNK]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from llnm.errors import InputError

UNKNOWN, START, END, PADDING, MASK = "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"


@dataclass(frozen=True)
class ReportTokenizer:
    """A WordPiece tokenizer with the numbers of BERT's special tokens."""

    tokenizer: Tokenizer
    start: int
    end: int
    unknown: int

    @staticmethod
    def from_folder(folder: Path) -> ReportTokenizer:
        """Read `tokenizer.json` or, where it is missing, `vocab.txt`. Raises InputError for a folder without either."""
        tokenizer = _read(folder)
        numbers = {name: tokenizer.token_to_id(name) for name in (START, END, UNKNOWN)}
        known = {name: number for name, number in numbers.items() if number is not None}
        absent = [name for name in numbers if name not in known]
        if absent:
            raise InputError(f"{folder}: its tokenizer has no {', '.join(absent)}; give a BERT folder")
        return ReportTokenizer(tokenizer, known[START], known[END], known[UNKNOWN])

    def numbers(self, text: str, maximum: int) -> list[int]:
        """At most `maximum` token numbers, `[CLS]` and `[SEP]` among them."""
        return [self.start, *self._words(text)[: maximum - 2], self.end]

    def words(self, numbers: list[int]) -> list[str]:
        """The tokens as text, for showing which word was weighed."""
        return [str(self.tokenizer.id_to_token(number)) for number in numbers]

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the vocabulary lacks (0-1); 0 for a text without tokens."""
        words = self._words(text)
        return words.count(self.unknown) / len(words) if words else 0.0

    def _words(self, text: str) -> list[int]:
        # A lone surrogate is no character and would end in an encoding error deep inside.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return list(self.tokenizer.encode(clean, add_special_tokens=False).ids)


def _read(folder: Path) -> Tokenizer:
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    try:
        if whole.is_file():
            tokenizer = Tokenizer.from_file(str(whole))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            return tokenizer
        if vocabulary.is_file():
            return _from_vocabulary(vocabulary, folder / "tokenizer_config.json")
    except Exception as error:  # the Rust library raises bare Exception
        raise InputError(f"{folder}: its tokenizer cannot be read ({_line(error)}); give a BERT folder") from error
    raise InputError(f"{folder}: it has neither tokenizer.json nor vocab.txt; give a BERT folder")


def _from_vocabulary(vocabulary: Path, settings: Path) -> Tokenizer:
    lower = True
    if settings.is_file():
        lower = bool(json.loads(settings.read_text(encoding="utf-8")).get("do_lower_case", True))
    words = vocabulary.read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN))
    tokenizer.normalizer = BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
