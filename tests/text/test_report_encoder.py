"""The report encoder against the model read directly, on awkward reports, and on folders that are none."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from llnm.errors import InputError
from llnm.text import ReportEncoder

SHIPPED = Path(__file__).parents[2] / "monai_bundle/thyroid_llnm_prediction/models/report_encoder"
ENGLISH = "Suspicious left level IV lymph node. Left lobe, upper pole: hypoechoic solid nodule, 7 mm."
CHINESE = "左颈Ⅳ区见可疑淋巴结。左叶上极见低回声实性结节，大小7 mm，边界不清。"


@pytest.fixture(scope="module")
def encoder():
    return ReportEncoder.from_folder(SHIPPED)


@pytest.fixture
def copied(tmp_path):
    return Path(shutil.copytree(SHIPPED, tmp_path / "encoder"))


def test_vectors_are_those_of_the_model_itself(encoder):
    model = BertModel.from_pretrained(SHIPPED, add_pooling_layer=False).float().eval()
    numbers = encoder.tokenizer.tokenizer.encode(ENGLISH).ids
    with torch.inference_mode():
        expected = model(torch.tensor([numbers])).last_hidden_state[0]
    vectors, mask = encoder.encode([ENGLISH])
    assert vectors.shape == (1, 50, 768)
    assert vectors.dtype == torch.float32
    assert int(mask.sum()) == len(numbers)
    torch.testing.assert_close(vectors[0, : len(numbers)], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("report", [ENGLISH, CHINESE])
def test_tokens_begin_with_cls_end_with_sep_and_are_known(encoder, report):
    tokens = encoder.tokens(report)
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert "[UNK]" not in tokens
    assert len(tokens) > 15
    assert encoder.unknown_share(report) == 0.0


def test_long_reports_keep_fifty_tokens_with_both_ends(encoder):
    tokens = encoder.tokens(ENGLISH * 10)
    assert len(tokens) == 50
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")
    _, mask = encoder.encode([ENGLISH * 10])
    assert mask.all()


def test_characters_reads_the_first_fifty_characters_only(encoder):
    changed = ENGLISH[:50] + "something altogether different"
    same, _ = encoder.encode([ENGLISH, changed], length="characters")
    torch.testing.assert_close(same[0], same[1])
    other, _ = encoder.encode([ENGLISH, changed], length="tokens")
    assert not torch.allclose(other[0], other[1])
    assert len(encoder.tokens(CHINESE * 3, length="characters")) <= 50


def test_padding_is_masked_zero_and_without_effect(encoder):
    vectors, mask = encoder.encode([ENGLISH * 3, "hypoechoic nodule", CHINESE])
    assert torch.equal(vectors.abs().sum(dim=2) > 0, mask)
    for row, report in enumerate([ENGLISH * 3, "hypoechoic nodule", CHINESE]):
        alone, _ = encoder.encode([report])
        torch.testing.assert_close(vectors[row], alone[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("report", [None, "", "  \n\t "])
def test_a_missing_report_is_all_masked(encoder, report):
    vectors, mask = encoder.encode([report, ENGLISH])
    assert not mask[0].any()
    assert not vectors[0].any()
    assert mask[1].any()
    assert encoder.tokens(report) == []
    assert encoder.unknown_share(report) == 0.0


@pytest.mark.parametrize(
    "report",
    [
        "x" * 10_000,
        "结节" * 5_000,
        "🙂 nodule 结节 🙂",
        "узел щитовидной железы",
        "\x00\ufffd",
        "broken \ud800 text",
        ".",
    ],
)
def test_awkward_reports_give_finite_vectors(encoder, report):
    vectors, mask = encoder.encode([report])
    assert mask[0].any()
    assert torch.isfinite(vectors).all()


def test_a_report_in_an_unknown_script_is_warned_of(encoder):
    assert encoder.unknown_share("жжж ыыы эээ") == 1.0
    assert "unknown" in encoder.warning("жжж ыыы эээ")
    assert encoder.warning(ENGLISH) is None
    assert encoder.warning(None) is None
    assert 0 < encoder.unknown_share("hypoechoic nodule 🙂") < 0.5


def test_full_width_signs_and_roman_numerals_read_as_plain_ones(encoder):
    assert encoder.tokens("左颈Ⅳ区，ＴＩ－ＲＡＤＳ　４ｂ类") == encoder.tokens("左颈IV区,ti-rads 4b类")


def test_a_batch_of_missing_reports_is_all_masked(encoder):
    vectors, mask = encoder.encode([None, ""])
    assert vectors.shape == (2, 50, 768)
    assert not mask.any()


def test_a_network_can_be_trained_on_the_vectors(encoder):
    vectors, _ = encoder.encode([ENGLISH])
    layer = torch.nn.Linear(768, 1)
    layer(vectors).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_no_report_at_all_gives_an_empty_batch(encoder):
    vectors, mask = encoder.encode([])
    assert vectors.shape == (0, 50, 768)
    assert mask.shape == (0, 50)


def test_loading_and_encoding_open_no_connection(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    ReportEncoder.from_folder(SHIPPED).encode([ENGLISH])


def test_threads_that_load_the_encoder_do_not_disturb_those_that_encode(encoder):
    def load_and_encode(_turn):
        return ReportEncoder.from_folder(SHIPPED).encode([ENGLISH])[0]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads change hands inside a load, which otherwise one run in many would see
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(load_and_encode, range(40)))
    finally:
        sys.setswitchinterval(before)
    for vectors in found:
        torch.testing.assert_close(vectors, encoder.encode([ENGLISH])[0])


def test_a_folder_with_vocab_txt_only_gives_the_same_tokens(encoder, copied):
    vocabulary = encoder.tokenizer.tokenizer.get_vocab()
    words = "\n".join(sorted(vocabulary, key=vocabulary.__getitem__))
    (copied / "vocab.txt").write_text(words + "\n", encoding="utf-8")
    (copied / "tokenizer.json").unlink()
    other = ReportEncoder.from_folder(copied)
    assert other.tokens(ENGLISH) == encoder.tokens(ENGLISH)
    torch.testing.assert_close(other.encode([ENGLISH])[0], encoder.encode([ENGLISH])[0])


def test_a_tokenizer_without_post_processor_still_gets_its_ends(encoder, copied):
    settings = json.loads((copied / "tokenizer.json").read_text(encoding="utf-8"))
    settings["post_processor"] = None
    (copied / "tokenizer.json").write_text(json.dumps(settings), encoding="utf-8")
    assert ReportEncoder.from_folder(copied).tokens(ENGLISH) == encoder.tokens(ENGLISH)


def change_config(folder, **values):
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | values), encoding="utf-8")


def damage(folder, kind):
    weights = folder / "model.safetensors"
    if kind == "no config":
        (folder / "config.json").unlink()
    elif kind == "broken config":
        (folder / "config.json").write_text("{not json")
    elif kind == "other width":
        change_config(folder, hidden_size=384)
    elif kind == "other model":
        change_config(folder, model_type="gpt2")
    elif kind == "no weights":
        weights.unlink()
    elif kind == "truncated weights":
        weights.write_bytes(weights.read_bytes()[:100_000])
    elif kind == "weights of another model":
        state = load_file(weights)
        save_file({name: value for name, value in state.items() if "attention" not in name}, weights, {"format": "pt"})
    elif kind == "other depth":
        change_config(folder, num_hidden_layers=2)
    elif kind == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif kind == "broken tokenizer":
        (folder / "tokenizer.json").write_text("{}")
    elif kind == "foreign tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text("a\nb\n")


@pytest.mark.parametrize(
    "kind",
    [
        "no config",
        "broken config",
        "other width",
        "other model",
        "no weights",
        "truncated weights",
        "weights of another model",
        "other depth",
        "no tokenizer",
        "broken tokenizer",
        "foreign tokenizer",
    ],
)
def test_a_folder_that_is_no_whole_bert_is_refused_on_one_line(copied, kind):
    damage(copied, kind)
    with pytest.raises(InputError) as caught:
        ReportEncoder.from_folder(copied)
    message = str(caught.value)
    assert "\n" not in message
    assert str(copied) in message
    assert "; " in message


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="config.json"):
        ReportEncoder.from_folder(tmp_path / "nowhere")


@pytest.mark.parametrize(("length", "maximum"), [("words", 50), ("tokens", 2), ("tokens", 65)])
def test_impossible_lengths_are_refused(encoder, length, maximum):
    with pytest.raises(InputError, match="report length"):
        encoder.encode([ENGLISH], length=length, maximum=maximum)
