"""Train the small bilingual report encoder that ships as the default.

    python -m llnm.training.report_encoder --out DIR [--sentences N] [--steps N] [--seed S]

Comes in: nothing but the report grammar of `llnm.simulate`. Goes out: a BERT folder (`config.json`, `tokenizer.json`,
`model.safetensors` in float16, `README.md`) for `llnm.text.ReportEncoder`. A WordPiece vocabulary is taken from
simulated reports, then one BERT layer is trained to do two things. It guesses hidden tokens (Devlin et al., NAACL 2019:
of the tokens to be guessed 80 % are hidden, 10 % replaced; Wettig et al., EACL 2023: guessing 30 % rather than 15 %
teaches more a step). And the mean of its vectors tells what the report states, as report labellers do (CheXbert, Smit
et al., EMNLP 2020): by hidden tokens alone a vector speaks first of language and wording, and a network that knows few
patients' labels does not find the lymph nodes in it. Takes some minutes on one core.
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
from llnm.simulate.phrases import LANGUAGES, PHRASES
from llnm.simulate.reports import Report, reports
from llnm.text.tokens import END, MASK, PADDING, START, UNKNOWN

SPECIAL = (PADDING, UNKNOWN, START, END, MASK)
VOCABULARY_SIZE = 1_400
POSITIONS = 64
LENGTH = 50
BATCH = 16
LEARNING_RATE = 4e-4
HIDDEN_SHARE, HIDDEN_SHARE_MEASURED = 0.3, 0.15
# The layer that tells statements is kept small by its decay, so that what is stated must stand large in the vectors.
STATEMENT_WEIGHT, STATEMENT_DECAY = 3.0, 1.0
# Each finding of the grammar and the values it can be stated to have; place 0 is that it is not mentioned.
STATEMENTS = {name: tuple(values) for name, values in PHRASES[LANGUAGES[0]].items()}
_HELD_BACK, _HELD_BACK_SEED = 500, 1_000_003


@dataclass(frozen=True)
class Accuracy:
    """On held-back reports: share of hidden tokens guessed right, how many were hidden, share of statements told right.

    Of the statements the finding that is told worst counts.
    """

    value: float
    tokens: int
    statements: float


def build_tokenizer(texts: list[str]) -> Tokenizer:
    """A WordPiece tokenizer of the reports: lower case, one token a Chinese character, every ASCII character known.

    Its words are the words of the reports; their beginnings, their endings and all characters are the pieces of other
    words. (The trainer of `tokenizers` breaks ties differently in every run.) NFKC first, so that full-width
    punctuation and Roman numerals of Chinese reports become plain ones.
    """
    reader = _reader(WordPiece(unk_token=UNKNOWN))
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in reader.pre_tokenizer.pre_tokenize_str(reader.normalizer.normalize_str(text)))
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
        learnt = list(itertools.islice(reports(np.random.default_rng(seed)), count))
        tokenizer = build_tokenizer([report.text for report in learnt])
        torch.manual_seed(seed)
        model = BertForMaskedLM(_config(tokenizer))
        teller = nn.Linear(model.config.hidden_size, sum(len(values) + 1 for values in STATEMENTS.values()))
        _fit(model, teller, learnt, tokenizer, steps, seed)
        held_back = list(itertools.islice(reports(np.random.default_rng(_HELD_BACK_SEED + seed)), _HELD_BACK))
        accuracy = _accuracy(model, teller, held_back, tokenizer)
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


def _numbers(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Token numbers (B, LENGTH), padded."""
    rows = torch.full((len(texts), LENGTH), SPECIAL.index(PADDING))
    for row, encoding in enumerate(tokenizer.encode_batch(texts, add_special_tokens=False)):
        ids = [tokenizer.token_to_id(START), *encoding.ids[: LENGTH - 2], tokenizer.token_to_id(END)]
        rows[row, : len(ids)] = torch.tensor(ids)
    return rows


def _stated(found: list[Report]) -> Tensor:
    """What each report states, (B, findings): the place of the value in `STATEMENTS` from 1 up, 0 if not mentioned."""
    rows = [
        [1 + values.index(report.stated[name]) if name in report.stated else 0 for name, values in STATEMENTS.items()]
        for report in found
    ]
    return torch.tensor(rows)


def _hide(numbers: Tensor, share: float, tokenizer: Tokenizer, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens with a share of them to be guessed, and where these are."""
    chosen = (torch.rand(numbers.shape, generator=generator) < share) & (numbers >= len(SPECIAL))
    fate = torch.rand(numbers.shape, generator=generator)
    other = torch.randint(len(SPECIAL), tokenizer.get_vocab_size(), numbers.shape, generator=generator)
    hidden = torch.where(chosen & (fate < 0.8), SPECIAL.index(MASK), numbers)
    return torch.where(chosen & (fate > 0.9), other, hidden), chosen


def _states(model: Any, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (B, T, 768), and the mean of each report's, (B, 768)."""
    real = numbers != SPECIAL.index(PADDING)
    states: Tensor = model.bert(input_ids=numbers, attention_mask=real.long()).last_hidden_state
    weight = real.unsqueeze(-1).to(states.dtype)
    return states, (states * weight).sum(dim=1) / weight.sum(dim=1)


def _told(teller: nn.Linear, means: Tensor) -> tuple[Tensor, ...]:
    """Logits of the values of each finding, a tensor (B, values + 1) a finding."""
    logits: Tensor = teller(means)
    return logits.split([len(values) + 1 for values in STATEMENTS.values()], dim=1)


def _fit(model: Any, teller: nn.Linear, learnt: list[Report], tokenizer: Tokenizer, steps: int, seed: int) -> None:
    """Each step guesses the hidden tokens of some reports and tells what others, which are whole, state."""
    numbers, stated = _numbers(tokenizer, [report.text for report in learnt]), _stated(learnt)
    generator = torch.Generator().manual_seed(seed)
    groups = [
        {"params": model.parameters(), "weight_decay": 0.01},
        {"params": teller.parameters(), "weight_decay": STATEMENT_DECAY},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    warm_up = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / (steps - warm_up + 1))
    )
    model.train()
    for _ in track(range(steps), "report encoder", transient=True):
        guessed, told = torch.randint(len(numbers), (2, BATCH), generator=generator)
        hidden, chosen = _hide(numbers[guessed], HIDDEN_SHARE, tokenizer, generator)
        states, means = _states(model, torch.cat((hidden, numbers[told])))
        loss = functional.cross_entropy(model.cls(states[:BATCH][chosen]), numbers[guessed][chosen])
        answers = _told(teller, means[BATCH:])
        for answer, truth in zip(answers, stated[told].unbind(dim=1), strict=True):
            loss = loss + STATEMENT_WEIGHT / len(answers) * functional.cross_entropy(answer, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


@torch.inference_mode()
def _accuracy(model: Any, teller: nn.Linear, held_back: list[Report], tokenizer: Tokenizer) -> Accuracy:
    model.eval()
    numbers, stated = _numbers(tokenizer, [report.text for report in held_back]), _stated(held_back)
    hidden, chosen = _hide(numbers, HIDDEN_SHARE_MEASURED, tokenizer, torch.Generator().manual_seed(0))
    right = model.cls(_states(model, hidden)[0][chosen]).argmax(dim=1) == numbers[chosen]
    answers = _told(teller, _states(model, numbers)[1])
    told = [
        float((answer.argmax(dim=1) == truth).float().mean())
        for answer, truth in zip(answers, stated.unbind(dim=1), strict=True)
    ]
    return Accuracy(float(right.float().mean()), right.numel(), min(told))


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
        "Data": f"{count:,} simulated reports of the grammar in `llnm.simulate.reports`, half English, half Chinese, "
        "half of them brief; no real report",
        "Method": f"{steps:,} steps of {BATCH} reports of at most {LENGTH} tokens whose hidden tokens are guessed "
        f"({HIDDEN_SHARE:.0%}) and as many whole ones, of which the mean vector tells what they state; AdamW, learning "
        f"rate {LEARNING_RATE:g}",
        "Command": "`python -m llnm.training.report_encoder --out DIR "
        f"--sentences {count} --steps {steps} --seed {seed}`",
        "Duration": f"{minutes:.1f} minutes of one CPU core",
        "Hidden tokens guessed right": f"{accuracy.value:.1%} of {accuracy.tokens:,}, on {_HELD_BACK} reports of "
        f"another seed with {HIDDEN_SHARE_MEASURED:.0%} to be guessed",
        "Statements told right": f"{accuracy.statements:.1%} of the finding told worst, of {len(STATEMENTS)} (value, "
        "or not mentioned), on the same reports",
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
    parser.add_argument("--sentences", type=int, default=8_000, help="simulated reports to learn from")
    parser.add_argument("--steps", type=int, default=1_500, help="training steps")
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
