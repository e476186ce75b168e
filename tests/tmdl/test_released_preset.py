"""The preset `released` against a plain re-statement of the released architecture."""

import pytest
import torch

from llnm.errors import InputError
from llnm.tmdl import TMDL
from llnm.tmdl.config import preset_config
from llnm.tmdl.released import released_names
from restated_tmdl import random_released_state, restated_logits


@pytest.mark.parametrize("size", ["small", "base"])
def test_released_preset_gives_the_logits_of_the_restated_equations(size, some_inputs):
    config = preset_config("released", size)
    network = TMDL(config).eval()
    state = random_released_state(config)
    network.load_released_state_dict(state)
    inputs = some_inputs(patients=2, seed=1)
    with torch.no_grad():
        ours = network(inputs).logits
    exact = {name: value.double() for name, value in state.items()}
    theirs = restated_logits(exact, inputs, config.heads, config.depth, config.fusion_depth)
    assert ours.shape == (2, 2)
    assert (ours.double() - theirs).abs().max() < 1e-5
    assert theirs.std() > 1e-3, "weights too small to tell one formula from another"


def test_in_training_without_dropout_no_token_is_left_out(some_inputs):
    config = preset_config("released", "small", dropout=0.0, attention_dropout=0.0)
    network = TMDL(config)
    inputs = some_inputs()
    with torch.no_grad():
        assert torch.equal(network.train()(inputs).logits, network.eval()(inputs).logits)


def test_a_data_parallel_prefix_makes_no_difference(some_inputs):
    config = preset_config("released", "small")
    state = random_released_state(config)
    plain, wrapped = TMDL(config).eval(), TMDL(config).eval()
    plain.load_released_state_dict(state)
    wrapped.load_released_state_dict({f"module.{name}": value for name, value in state.items()})
    inputs = some_inputs()
    with torch.no_grad():
        assert torch.equal(plain(inputs).logits, wrapped(inputs).logits)


def test_a_key_missing_or_left_over_is_named():
    network = TMDL.from_preset("released", size="small")
    state = random_released_state(network.config)
    with pytest.raises(InputError, match=r"1 names missing \(head.bias\)"):
        network.load_released_state_dict({name: value for name, value in state.items() if name != "head.bias"})
    with pytest.raises(InputError, match="extra.weight"):
        network.load_released_state_dict(state | {"extra.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="released"):
        TMDL.from_preset("paper", size="small").load_released_state_dict(state)


def test_every_parameter_of_ours_has_a_released_name():
    network = TMDL.from_preset("released", size="small")
    ours = set(network.state_dict()) - {"embeddings.scalar_positions"}
    assert ours == set(released_names(network.config).values())
