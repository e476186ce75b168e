"""What each input and each finding says by itself: it adds up, and the metastasis does not teach what findings are."""

from __future__ import annotations

import pytest
import torch

from llnm.errors import InputError
from llnm.tmdl import TMDL
from llnm.training.workflow import decay_groups

CHOICES = {"direct": True, "near_capsule": True, "patch_embedding": "windows"}


def only_the_direct_way():
    """A network whose head says nothing, with a direct way of random weights and every finding told."""
    torch.manual_seed(0)
    network = TMDL.from_preset("default", "small", **CHOICES).eval()
    for parameter in network.head.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.normal_(network.direct.inputs.weight)
    network.told |= True
    return network


def logits(network, inputs):
    with torch.inference_mode():
        return network(inputs).logits.double()


def test_what_inputs_say_by_themselves_adds_up(some_inputs):
    network, inputs = only_the_direct_way(), some_inputs(patients=3)
    older = {"age": inputs["age"] + 15}
    other = {"report": torch.randn_like(inputs["report"])}
    change = logits(network, inputs | older) + logits(network, inputs | other) - logits(network, inputs)
    torch.testing.assert_close(logits(network, inputs | older | other), change, atol=1e-5, rtol=1e-5)
    assert (logits(network, inputs | older) - logits(network, inputs)).abs().min() > 1e-3


def test_a_finding_counts_by_its_probability_and_only_if_a_reader_told_of_it(some_inputs):
    network, inputs = only_the_direct_way(), some_inputs(patients=4)
    torch.nn.init.zeros_(network.direct.inputs.weight)
    with torch.inference_mode():
        found = network(inputs)
    weights = network.direct.SCALE * network.direct.findings.weight
    expected = torch.sigmoid(found.finding_logits) @ weights.T + network.direct.inputs.bias
    torch.testing.assert_close(found.logits, expected)
    network.told[1:] = False
    expected = torch.sigmoid(found.finding_logits[:, :1]) * weights[0, 0]
    torch.testing.assert_close(logits(network, inputs).float(), expected + network.direct.inputs.bias)


def test_the_metastasis_does_not_teach_what_findings_look_like(some_inputs):
    network = only_the_direct_way().train()
    network(some_inputs(patients=3)).logits.sum().backward()
    assert not any(
        parameter.grad is not None and parameter.grad.any() for parameter in network.finding_head.parameters()
    )
    assert network.direct.findings.weight.grad.abs().sum() > 0


def test_one_patient_alone_teaches_no_scale(some_inputs):
    network = only_the_direct_way().train()
    before = network.standard.running_var.clone()
    assert network(some_inputs(patients=1)).logits.isfinite().all()
    assert torch.equal(network.standard.running_var, before)
    network(some_inputs(patients=3))
    assert not torch.equal(network.standard.running_var, before)


def test_what_is_nearest_in_either_view_counts(some_inputs):
    """The largest of an input's tokens is that of both views together, its mean that of the views' means."""
    embedded = torch.arange(2 * 2 * 8 * 2, dtype=torch.float32).view(4, 16)
    embedded[1, 1] = 1000.0
    share = torch.tensor([[[0.5], [0.5]], [[1.0], [0.0]]])
    shown = TMDL.from_preset("default", "small", **CHOICES)._of_both_views(embedded, share)
    assert shown[0, 0] == (embedded[0, 0] + embedded[1, 0]) / 2
    assert shown[0, 1] == 1000.0
    assert torch.equal(shown[1], embedded[2]), "a view that does not exist says nothing"


def test_every_parameter_is_trained_once_and_the_many_weights_decay_apart():
    network = TMDL.from_preset("default", "small", **CHOICES)
    rest, direct = decay_groups(network, 2.0)
    assert direct["params"] == [network.direct.inputs.weight] and direct["weight_decay"] == 2.0
    trained = [id(parameter) for group in (rest, direct) for parameter in group["params"]]
    assert sorted(trained) == sorted(map(id, network.parameters()))
    assert len(decay_groups(TMDL.from_preset("paper", "small"), 2.0)) == 1


def test_it_needs_what_each_input_shows_by_itself():
    with pytest.raises(InputError, match="direct.*pooling='inputs'"):
        TMDL.from_preset("default", "small", pooling="mean", finding_head=False, direct=True)


def test_nearness_of_the_capsule_needs_the_head_that_tells_it():
    with pytest.raises(InputError, match="near_capsule.*finding_head=True"):
        TMDL.from_preset("default", "small", finding_head=False, near_capsule=True)
