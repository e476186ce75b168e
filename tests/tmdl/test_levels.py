"""The head that tells the levels of metastasis apart: in order for any weights, and the model it claims to be."""

import numpy as np
import pytest
import torch
from statsmodels.miscmodels.ordinal_model import OrderedModel

from llnm.errors import InputError
from llnm.tmdl import TMDL, TMDLOutput
from llnm.tmdl.network import OrdinalHead
from llnm.training.loss import MetastasisLoss


def answer(logits, levels=None):
    return TMDLOutput(torch.as_tensor(logits), torch.zeros(1), (), None if levels is None else torch.as_tensor(levels))


def test_probabilities_of_the_levels_are_none_below_zero_and_sum_to_one(some_inputs):
    torch.manual_seed(0)
    network = TMDL.from_preset(size="small").eval()
    for parameter in network.level_head.parameters():
        torch.nn.init.normal_(parameter, std=5.0)
    with torch.no_grad():
        found = network(some_inputs(patients=6)).level_probabilities
    assert found.shape == (6, 3)
    assert (found >= 0).all()
    assert torch.allclose(found.sum(dim=1), torch.ones(6))


def test_the_levels_follow_the_direct_way_and_teach_it_nothing(some_inputs):
    """A greater risk by the findings moves all cuts of the levels alike."""
    torch.manual_seed(0)
    network, inputs = TMDL.from_preset(size="small").eval(), some_inputs(patients=3)
    torch.nn.init.normal_(network.level_head.score.weight)
    before = network(inputs).level_logits
    before.sum().backward()
    assert not any(value.grad is not None and value.grad.any() for value in network.direct.parameters())
    with torch.no_grad():
        network.direct.few.bias += 0.1
        moved = network(inputs)
    expected = (network.level_head.score.weight[:, -1:] * moved.direct_logits).expand(-1, 2)
    torch.testing.assert_close(moved.level_logits - before, expected)


def test_presets_of_the_paper_have_no_such_head(some_inputs):
    assert TMDL.from_preset("paper", size="small").eval()(some_inputs()).level_probabilities is None
    with pytest.raises(InputError, match="levels 1"):
        TMDL.from_preset(size="small", levels=1)


def test_the_head_and_its_loss_fit_the_ordered_model_of_statsmodels():
    """Cumulative logits with one slope: the binary cross-entropies of the cuts have the same truth to find."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40_000, 2))
    latent = x @ [1.5, -0.7] + rng.logistic(size=len(x))
    level = np.searchsorted([0.3, 2.0], latent)
    reference = OrderedModel(level, x, distr="logit").fit(method="bfgs", disp=False)
    cuts = reference.model.transform_threshold_params(reference.params)[1:-1]
    torch.manual_seed(0)
    head, loss = OrdinalHead(2, 3), MetastasisLoss(level_weight=1.0)
    inputs = torch.tensor(x, dtype=torch.float32)
    labels = torch.tensor(np.stack([np.zeros(len(x)), level], axis=1), dtype=torch.float32)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=200)

    def step():
        optimizer.zero_grad()
        value = loss(answer(np.zeros((len(x), 1), np.float32), head(inputs)), labels)
        value.backward()
        return value

    optimizer.step(step)
    assert head.score.weight.detach().numpy()[0] == pytest.approx(reference.params[:2], abs=0.03)
    assert -head(torch.zeros(1, 2)).detach().numpy()[0] == pytest.approx(cuts, abs=0.03)


def test_patients_without_a_level_teach_the_metastasis_alone():
    loss = MetastasisLoss()
    label = torch.tensor([[1.0, -1.0], [0.0, -1.0]])
    logits = torch.tensor([[0.3], [-0.2]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], label[:, 0])
    assert torch.isclose(loss(answer(logits, torch.randn(2, 2)), label), expected)


def test_the_weight_of_a_positive_patient_counts_it_so_often():
    label, logits = torch.tensor([[1.0, -1.0], [0.0, -1.0]]), torch.tensor([[0.4], [0.9]])
    twice = torch.tensor([[1.0, -1.0], [1.0, -1.0], [0.0, -1.0]])
    weighted = 2 * MetastasisLoss(positive_weight=2.0)(answer(logits), label)
    counted = 3 * MetastasisLoss()(answer(logits[[0, 0, 1]]), twice)
    assert torch.isclose(weighted, counted)
