"""Train the small bilingual report encoder that ships as the default.

    python -m llnm.training.report_encoder --out DIR [--sentences N] [--steps N] [--seed S]

Comes in: nothing but the report grammar of `llnm.simulate`. Goes out: a BERT folder (`config.json`, `tokenizer.json`,
`model.safetensors` in float16, `README.md`) for `llnm.text.ReportEncoder`. A WordPiece vocabulary is taken from
simulated reports, then one BERT layer is trained by masked-language modelling (Devlin et al., NAACL 2019: of the
tokens to be guessed 80 % are hidden, 10 % replaced; Wettig et al., EACL 2023: guessing 30 % rather than 15 % teaches
more a step). Takes a few minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import string
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import NFKC, BertNormalizer
from tokenizers.normalizers import Sequence as Normalizers
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM

from llnm.errors import LLNMError
from llnm.simulate.cohort import new_folder
from llnm.simulate.reports import sentences
from llnm.text.tokens import END, MASK, PADDING, START, UNKNOWN

SPECIAL = (PADDING, UNKNOWN, START, END, MASK)
VOCABULARY_SIZE = 1_400
POSITIONS = 64
LENGTH = 50
BATCH = 16
LEARNING_RATE = 4e-4
HIDDEN_SHARE, HIDDEN_SHARE_MEASURED = 0.3, 0.15
_HELD_BACK, _HELD_BACK_SEED = 500, 1_000_003


@dataclass(frozen=True)
class Accuracy:
    """Share of hidden tokens guessed right on held-back reports, and how many were hidden."""

    value: float
    tokens: int


def build_tokenizer(reports: list[str]) -> Tokenizer:
    """A WordPiece tokenizer of the reports: lower case, one token a Chinese character, every ASCII character known.

    Its words are the words of the reports; their beginnings, their endings and all characters are the pieces of other
    words. (The trainer of `tokenizers` breaks ties differently in every run.) NFKC first, so that full-width
    punctuation and Roman numerals of Chinese reports become plain ones.
    """
    reader = _reader(WordPiece(unk_token=UNKNOWN))
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(
            word for word, _ in reader.pre_tokenizer.pre_tokenize_str(reader.normalizer.normalize_str(report))
        )
    signs = [sign for sign in string.printable.lower() if not sign.isspace()]
    pieces = [f"##{sign}" for sign in string.ascii_lowercase + string.digits]
    common = sorted(counts, key=lambda word: (-counts[word], word))
    parts = [part for word in common for part in _parts(word)]
    words = list(dict.fromkeys([*SPECIAL, *signs, *pieces, *common, *parts]))[:VOCABULARY_SIZE]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = _reader(WordPiece(vocabulary, unk_token=UNKNOWN))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = BertProcessing((END, vocabulary[END]), (START, vocabulary[START]))
    return tokenizer


def train(out: Path, count: int, steps: int, seed: int) -> Accuracy:
    """Train on `count` reports for `steps` steps, write the folder, return the accuracy on reports of another seed.

    Raises InputError where `out` is in use or cannot be written.
    """
    started = time.process_time()
    with new_folder(Path(out)) as folder:
        reports = list(itertools.islice(sentences(np.random.default_rng(seed)), count))
        tokenizer = build_tokenizer(reports)
        torch.manual_seed(seed)
        model = BertForMaskedLM(_config(tokenizer))
        _fit(model, _numbers(tokenizer, reports), tokenizer, steps, seed)
        held_back = list(itertools.islice(sentences(np.random.default_rng(_HELD_BACK_SEED + seed)), _HELD_BACK))
        accuracy = _accuracy(model, _numbers(tokenizer, held_back), tokenizer)
        _save(model, tokenizer, folder)
        minutes = (time.process_time() - started) / 60
        (folder / "README.md").write_text(
            _card(count, steps, seed, minutes, accuracy, tokenizer.get_vocab_size()), encoding="utf-8"
        )
    return accuracy


def _reader(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = Normalizers([NFKC(), BertNormalizer(lowercase=True)])
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _parts(word: str) -> Iterator[str]:
    """Beginnings and endings of a word, for others that share a stem or an ending with it (hypoecho-genic)."""
    for cut in range(4, len(word) - 1):
        yield word[:cut]
        yield f"##{word[-cut:]}"


def _config(tokenizer: Tokenizer) -> BertConfig:
    return BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=768,
        num_hidden_layers=1,
        num_attention_heads=12,
        intermediate_size=512,
        max_position_embeddings=POSITIONS,
        pad_token_id=SPECIAL.index(PADDING),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _numbers(tokenizer: Tokenizer, reports: list[str]) -> Tensor:
    """Token numbers (B, LENGTH), padded."""
    rows = torch.full((len(reports), LENGTH), SPECIAL.index(PADDING))
    for row, encoding in enumerate(tokenizer.encode_batch(reports, add_special_tokens=False)):
        ids = [tokenizer.token_to_id(START), *encoding.ids[: LENGTH - 2], tokenizer.token_to_id(END)]
        rows[row, : len(ids)] = torch.tensor(ids)
    return rows


def _hide(numbers: Tensor, share: float, tokenizer: Tokenizer, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens with a share of them to be guessed, and where these are."""
    chosen = (torch.rand(numbers.shape, generator=generator) < share) & (numbers >= len(SPECIAL))
    fate = torch.rand(numbers.shape, generator=generator)
    other = torch.randint(len(SPECIAL), tokenizer.get_vocab_size(), numbers.shape, generator=generator)
    hidden = torch.where(chosen & (fate < 0.8), SPECIAL.index(MASK), numbers)
    return torch.where(chosen & (fate > 0.9), other, hidden), chosen


def _guess(model: Any, hidden: Tensor, chosen: Tensor) -> Tensor:
    """Logits (hidden tokens, vocabulary); the large output layer runs only where something is to be guessed."""
    states = model.bert(input_ids=hidden, attention_mask=(hidden != SPECIAL.index(PADDING)).long()).last_hidden_state
    logits: Tensor = model.cls(states[chosen])
    return logits


def _fit(model: Any, numbers: Tensor, tokenizer: Tokenizer, steps: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / (steps - warm_up + 1))
    )
    model.train()
    for _ in track(range(steps), "report encoder", transient=True):
        rows = torch.randint(len(numbers), (BATCH,), generator=generator)
        hidden, chosen = _hide(numbers[rows], HIDDEN_SHARE, tokenizer, generator)
        loss = functional.cross_entropy(_guess(model, hidden, chosen), numbers[rows][chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def _accuracy(model: Any, numbers: Tensor, tokenizer: Tokenizer) -> Accuracy:
    hidden, chosen = _hide(numbers, HIDDEN_SHARE_MEASURED, tokenizer, torch.Generator().manual_seed(0))
    model.eval()
    right = _guess(model, hidden, chosen).argmax(dim=1) == numbers[chosen]
    return Accuracy(float(right.float().mean()), right.numel())


def _save(model: Any, tokenizer: Tokenizer, folder: Path) -> None:
    state = {name: value.half().contiguous() for name, value in model.bert.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {k: v for k, v in model.config.to_dict().items() if not k.startswith("_")}
    settings |= {"architectures": ["BertModel"], "dtype": "float16"}
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))


def _card(count: int, steps: int, seed: int, minutes: float, accuracy: Accuracy, words: int) -> str:
    rows = {
        "Data": f"{count:,} simulated reports of the grammar in `llnm.simulate.reports`, half English, half Chinese; "
        "no real report",
        "Method": f"masked-language modelling, {steps:,} steps of {BATCH} reports of at most {LENGTH} tokens, AdamW, "
        f"learning rate {LEARNING_RATE:g}, {HIDDEN_SHARE:.0%} to be guessed",
        "Command": "`python -m llnm.training.report_encoder --out DIR "
        f"--sentences {count} --steps {steps} --seed {seed}`",
        "Duration": f"{minutes:.1f} minutes of one CPU core",
        "Hidden tokens guessed right": f"{accuracy.value:.1%} of {accuracy.tokens:,}, on {_HELD_BACK} reports of "
        f"another seed with {HIDDEN_SHARE_MEASURED:.0%} to be guessed",
        "Licence": "Apache-2.0",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return f"""# Report encoder (small, English and Chinese)

A BERT of one layer (width 768, 12 heads, {words} WordPiece tokens, {POSITIONS} positions, float16) that turns thyroid
ultrasound reports into word vectors. Research use only; not a medical device.

| | |
|---|---|
{table}

The grammar draws findings at random, so a hidden finding can often not be known from the rest: perfect guessing is
impossible. Words outside the grammar are read as pieces or, for other Chinese characters, as `[UNK]`; any BERT folder
of width 768 (for example a local copy of bert-base-chinese) can take this one's place.
"""


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Train the small bilingual report encoder.")
    parser.add_argument("--out", type=Path, required=True, help="new or empty folder")
    parser.add_argument("--sentences", type=int, default=6_000, help="simulated reports to learn from")
    parser.add_argument("--steps", type=int, default=750, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    try:
        accuracy = train(chosen.out, chosen.sentences, chosen.steps, chosen.seed)
    except LLNMError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{accuracy.value:.1%} of {accuracy.tokens} hidden tokens guessed right; written to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
