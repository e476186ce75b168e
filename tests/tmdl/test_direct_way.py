"""What findings, distance, report, age and sex say by themselves: it adds up, it is measured where it can be, and the
metastasis does not teach what findings are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llnm.case import FINDINGS
from llnm.errors import InputError
from llnm.tmdl import TMDL
from llnm.tmdl.config import INPUTS
from llnm.tmdl.direct import NEARER_THAN_MM, PRECISION_MM, nearness
from llnm.tmdl.packed import pack, unpack
from llnm.training.loss import MetastasisLoss
from llnm.training.workflow import decay_groups


def some_weights():
    """The default preset with a direct way of random weights, blocks that say something, and every finding told."""
    torch.manual_seed(0)
    network = TMDL.from_preset("default", "small").eval()
    for parameter in (*network.direct.parameters(), *network.head.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    network.told |= True
    return network


def direct(network, inputs):
    with torch.inference_mode():
        return network(inputs).direct_logits.double()


def unsure(network, *absent):
    """What the logit of a patient who lacks these inputs is divided by."""
    spread = np.exp(network.direct.SCALE * network.direct.spread.detach().double().numpy())
    return float(np.sqrt(1 + 0.1 * sum(spread[INPUTS.index(name)] for name in absent)))


def test_it_is_added_to_what_the_blocks_say(some_inputs):
    network, inputs = some_weights(), some_inputs(patients=3)
    with torch.inference_mode():
        both = network(inputs)
        torch.nn.init.zeros_(network.head[-1].weight)
        torch.nn.init.zeros_(network.head[-1].bias)
        alone = network(inputs)
    torch.testing.assert_close(alone.logits, both.direct_logits)
    assert not torch.allclose(both.logits, both.direct_logits)


def test_what_inputs_say_by_themselves_adds_up(some_inputs):
    network, inputs = some_weights(), some_inputs(patients=3)
    older = {"age": inputs["age"] + 15}
    other = {"report": torch.randn_like(inputs["report"])}
    change = direct(network, inputs | older) + direct(network, inputs | other) - direct(network, inputs)
    torch.testing.assert_close(direct(network, inputs | older | other), change, atol=1e-5, rtol=1e-5)
    assert (direct(network, inputs | older) - direct(network, inputs)).abs().min() > 1e-3


def test_a_finding_counts_by_its_probability_and_only_if_a_reader_told_of_it(some_inputs):
    network, inputs = some_weights(), some_inputs(patients=4)
    with torch.no_grad():
        probability = torch.sigmoid(network(inputs).finding_logits).double()
    told = direct(network, inputs)
    network.told[: len(FINDINGS)] = False
    weights = network.direct.SCALE * network.direct.few.weight[0, : len(FINDINGS)].detach().double()
    expected = probability[:, : len(FINDINGS)] @ weights
    torch.testing.assert_close((told - direct(network, inputs))[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_the_mean_of_the_reports_vectors_counts_without_what_is_padding(some_inputs):
    network, inputs = some_weights(), some_inputs(patients=4)
    mask = inputs["report_mask"]
    words = [vectors[known].numpy() for vectors, known in zip(inputs["report"], mask, strict=True)]
    mean = np.stack([vectors.mean(axis=0) for vectors in words])
    without = direct(network, inputs | {"report_absent": torch.ones(4, dtype=torch.bool)}) * unsure(network, "report")
    weights, flag = (getattr(network.direct, part).weight[0].detach().numpy() for part in ("report", "few"))
    says = mean @ weights / np.sqrt(1 + 1e-5) - network.direct.SCALE * flag[-3]
    np.testing.assert_allclose((direct(network, inputs) - without)[:, 0].numpy(), says, atol=1e-4)


@pytest.mark.parametrize("name", ["age", "sex", "report"])
def test_what_is_absent_says_the_same_whatever_stands_in_its_place(some_inputs, name):
    network, inputs = some_weights(), some_inputs(patients=3)
    absent = {f"{name}_absent": torch.ones(3, dtype=torch.bool)}
    other = {name: torch.randn_like(inputs[name])}
    torch.testing.assert_close(direct(network, inputs | absent | other), direct(network, inputs | absent))
    assert not torch.allclose(direct(network, inputs | other), direct(network, inputs))


def test_who_knows_less_is_less_sure(some_inputs):
    """An input counts as known while one view that exists has it."""
    network, inputs = some_weights(), some_inputs(patients=3, views=2)
    network.told &= False  # so that the findings' probabilities are the same with and without
    torch.nn.init.normal_(network.direct.spread, std=0.1)
    whole, none, first = direct(network, inputs), torch.zeros(3, 2, dtype=torch.bool), torch.tensor([[True, False]] * 3)
    both = {"echogenicity_absent": ~none, "shape_absent": ~none}
    torch.testing.assert_close(direct(network, inputs | both) * unsure(network, "echogenicity", "shape"), whole)
    torch.testing.assert_close(direct(network, inputs | {"margin_absent": first}), whole)
    alone = inputs | {"view_mask": first}
    torch.testing.assert_close(direct(network, alone), whole)
    torch.testing.assert_close(direct(network, alone | {"margin_absent": first}) * unsure(network, "margin"), whole)


def test_the_smallest_measured_distance_of_the_views_counts():
    """Against plain arithmetic; views that do not exist, have no gland or no spacing say nothing."""
    inputs = {
        "capsule_distance": torch.tensor([[2.4, 5.0], [0.1, 3.1], [0.2, 3.2], [-1.0, 1.7], [-1.0, 0.3], [-1.0, -1.0]]),
        "view_mask": torch.tensor(
            [[True, True], [False, True], [True, True], [True, True], [True, False], [True, True]]
        ),
        "location_absent": torch.tensor([[False, False]] * 2 + [[True, False]] + [[False, False]] * 3),
    }
    told = torch.linspace(0.1, 0.6, 6)[:, None]
    found = nearness(inputs, told).numpy()
    for row, nearest in enumerate((2.4, 3.1, 3.2, 1.7)):
        expected = 1 / (1 + np.exp(-(np.array(NEARER_THAN_MM) - nearest) / PRECISION_MM))
        np.testing.assert_allclose(found[row], expected, rtol=1e-5)
    np.testing.assert_allclose(found[4:], np.repeat(told[4:].numpy(), len(NEARER_THAN_MM), axis=1))
    np.testing.assert_allclose(nearness({}, told).numpy(), np.repeat(told.numpy(), len(NEARER_THAN_MM), axis=1))


def test_a_distance_that_is_not_packed_is_not_known(some_inputs):
    inputs = some_inputs(patients=2, views=2)
    assert (unpack(pack(inputs))["capsule_distance"] < 0).all()
    distance = torch.tensor([[0.0, 3.5], [-1.0, 1.2]])
    assert torch.equal(unpack(pack(inputs | {"capsule_distance": distance}))["capsule_distance"], distance)


def test_it_learns_as_if_it_were_alone_and_teaches_neither_blocks_nor_findings(some_inputs):
    network, inputs = some_weights().train(), some_inputs(patients=3)
    network(inputs).direct_logits.sum().backward()
    others = [(name, value) for name, value in network.named_parameters() if not name.startswith("direct.")]
    assert not any(value.grad is not None and value.grad.any() for _, value in others)
    assert network.direct.few.weight.grad.abs().sum() > 0
    network.zero_grad()
    network(inputs).logits.sum().backward()
    assert not any(value.grad is not None and value.grad.any() for value in network.direct.parameters())


def test_the_loss_counts_it_alone_and_with_the_blocks(some_inputs):
    network = some_weights()
    with torch.inference_mode():
        answer = network(some_inputs(patients=3))
    label = torch.tensor([[1.0, -1, *[-1] * 5], [0.0, -1, *[-1] * 5], [1.0, -1, *[-1] * 5]])
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = entropy(answer.logits[:, 0], label[:, 0]) + entropy(answer.direct_logits[:, 0], label[:, 0])
    torch.testing.assert_close(MetastasisLoss()(answer, label), expected)


def test_one_patient_alone_teaches_no_scale(some_inputs):
    network = some_weights().train()
    scales = (network.standard, network.direct.standard)
    before = [scale.running_var.clone() for scale in scales]
    assert network(some_inputs(patients=1)).logits.isfinite().all()
    assert all(torch.equal(scale.running_var, old) for scale, old in zip(scales, before, strict=True))
    network(some_inputs(patients=3))
    assert not any(torch.equal(scale.running_var, old) for scale, old in zip(scales, before, strict=True))


def test_what_is_nearest_in_either_view_counts():
    """The largest of an input's tokens is that of both views together, its mean that of the views' means."""
    network = TMDL.from_preset("default", "small")
    embedded = torch.arange(4 * 8 * 2 * 64, dtype=torch.float32).view(4, -1)
    embedded[1, 64] = 1e6
    share = torch.tensor([[[0.5], [0.5]], [[1.0], [0.0]]])
    shown = network._of_both_views(embedded, share)
    assert shown[0, 0] == (embedded[0, 0] + embedded[1, 0]) / 2
    assert shown[0, 64] == 1e6
    assert torch.equal(shown[1], embedded[2, : 5 * 2 * 64]), "a view that does not exist says nothing"


def test_every_parameter_is_trained_once_and_the_many_weights_decay_apart():
    network = TMDL.from_preset("default", "small")
    groups = decay_groups(network, 2.0)
    assert [group.get("weight_decay") for group in groups] == [None, 2.0, 0.0]
    assert groups[1]["params"] == [network.direct.report.weight]
    trained = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(trained) == sorted(map(id, network.parameters()))
    assert len(decay_groups(TMDL.from_preset("paper", "small"), 2.0)) == 1


def test_it_needs_the_findings_of_the_views():
    with pytest.raises(InputError, match="direct.*finding_head=True"):
        TMDL.from_preset("default", "small", finding_head=False)
