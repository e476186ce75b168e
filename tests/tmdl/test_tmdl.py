"""What must hold of the network whatever its weights."""

import pytest
import torch

from llnm.errors import InputError
from llnm.tmdl import TMDL
from llnm.tmdl.embeddings import Tokens


def network(preset="default", **changes):
    torch.manual_seed(0)
    return TMDL.from_preset(preset, size="small", **changes).eval()


def logits(net, inputs, **options):
    with torch.no_grad():
        return net(inputs, **options).logits


def test_the_base_network_has_the_released_codes_143_million_parameters():
    with torch.device("meta"):
        count = sum(p.numel() for p in TMDL.from_preset("released", size="base").parameters())
    assert 142e6 < count < 144e6


def tokens(count):
    return Tokens(torch.randn(1, count, 64), torch.ones(1, count, dtype=torch.bool), torch.zeros(1, count, dtype=int))


def test_each_input_is_pooled_by_itself_from_the_tokens_that_count():
    mask = torch.tensor([[True, True, True, False, True], [True, False, False, False, False]])
    source = torch.tensor([[0, 0, 1, 1, 5]] * 2)
    values = torch.tensor([[1.0, 3.0, 10.0, 99.0, 6.0]] * 2)[..., None]
    pooled = Tokens(values, mask, source).mean_and_largest_of_inputs()
    expected = torch.zeros(2, 8, 2)
    expected[0, 0], expected[0, 1], expected[0, 5], expected[1, 0] = torch.tensor([[2, 3], [10, 10], [6, 6], [1, 1.0]])
    assert torch.equal(pooled, expected.flatten(1))


def test_what_shows_plainly_reaches_the_head_past_the_blocks(some_inputs):
    """With every block's answer struck out the inputs still decide."""
    torch.manual_seed(0)
    net = TMDL.from_preset("default", size="small").eval()
    young = some_inputs() | {"age": torch.tensor([20.0, 20.0])}
    old = young | {"age": torch.tensor([70.0, 70.0])}
    for block in (*net.fusion, *net.joint):
        for parameter in block.parameters():
            torch.nn.init.zeros_(parameter)
    torch.nn.init.zeros_(net.norm.weight)
    assert (logits(net, young) - logits(net, old)).abs().min() > 1e-4


def with_blank_patches(inputs):
    """A nodule that fills the middle of the location and texture images only."""
    nodule = torch.zeros(224, 224)
    nodule[80:150, 70:170] = 1
    return inputs | {name: inputs[name] * nodule for name in ("location", "texture")}


@pytest.mark.parametrize("views", [None, 2])
def test_leaving_out_the_blank_patches_gives_what_masking_them_gives(some_inputs, views):
    inputs = with_blank_patches(some_inputs(views=views))
    inputs["report_mask"][0, 30:] = False
    net = network()
    with torch.no_grad():
        assert torch.allclose(net(inputs).logits, net(inputs, attention=True).logits, atol=1e-6)


def test_no_attention_goes_to_a_blank_patch_unless_they_are_kept(some_inputs):
    inputs = with_blank_patches(some_inputs())
    for kept, expected in (("masked", True), ("kept", False)):
        with torch.no_grad():
            block = network(blank_patches=kept)(inputs, attention=True).attention[0]
        assert bool((block["text_to_image"][..., 0] == 0).all()) is expected


def test_what_stands_in_masked_report_places_does_not_matter(some_inputs):
    inputs = some_inputs()
    inputs["report_mask"][:, 20:] = False
    other = dict(inputs, report=torch.where(inputs["report_mask"][..., None], inputs["report"], torch.tensor(9.0)))
    assert torch.allclose(logits(network(), inputs), logits(network(), other), atol=1e-6)
    unmasked = network(report_padding="unmasked")
    assert not torch.allclose(logits(unmasked, inputs), logits(unmasked, other), atol=1e-3)


def test_a_short_report_equals_the_same_report_padded(some_inputs):
    inputs = some_inputs(tokens=50)
    inputs["report_mask"][:, 12:] = False
    short = dict(inputs, report=inputs["report"][:, :12], report_mask=inputs["report_mask"][:, :12])
    assert torch.allclose(logits(network(), inputs), logits(network(), short), atol=1e-6)


@pytest.mark.parametrize("two_views", ["feature", "logit"])
def test_two_equal_views_give_what_one_view_gives(some_inputs, two_views):
    one = some_inputs()
    two = {
        name: torch.stack([value, value], dim=1)
        if name in ("location", "texture", "margin", "echogenicity", "shape")
        else value
        for name, value in one.items()
    }
    net = network(two_views=two_views)
    assert torch.allclose(logits(net, one), logits(net, two), atol=1e-5)


def test_a_view_that_does_not_exist_has_no_influence(some_inputs):
    inputs = some_inputs(views=2) | {"view_mask": torch.tensor([[True, False], [True, False]])}
    changed = dict(inputs, texture=inputs["texture"].clone())
    changed["texture"][:, 1] = 0.123
    assert torch.allclose(logits(network(), inputs), logits(network(), changed), atol=1e-6)


@pytest.mark.parametrize("name", ["location", "texture", "margin", "echogenicity", "shape", "report", "age", "sex"])
def test_an_absent_input_has_no_influence_and_a_present_one_has(some_inputs, name):
    first, second = some_inputs(seed=0), some_inputs(seed=1)
    second = first | {name: second[name], "report_mask": first["report_mask"]}
    net = network()
    assert not torch.allclose(logits(net, first), logits(net, second), atol=1e-7)
    absent = {f"{name}_absent": torch.tensor([True, True])}
    assert torch.allclose(logits(net, first | absent), logits(net, second | absent), atol=1e-6)


def test_a_preset_without_absent_tokens_refuses_an_absent_input(some_inputs):
    with pytest.raises(InputError, match="age"):
        network("paper")(some_inputs() | {"age_absent": torch.tensor([True, False])})


@pytest.mark.parametrize("preset", ["default", "paper", "released"])
def test_attention_on_request_has_one_entry_a_block_sums_to_one_and_leaves_the_logits(some_inputs, preset):
    net = network(preset)
    inputs = some_inputs()
    with torch.no_grad():
        output = net(inputs, attention=True)
    assert torch.allclose(output.logits, logits(net, inputs), atol=1e-5)
    assert len(output.attention) == net.config.depth
    assert [len(block) for block in output.attention] == [4, 1, 1]
    for block in output.attention:
        for weights in block.values():
            assert torch.allclose(weights.sum(dim=-1), torch.ones(()), atol=1e-5)
    text = 50 + 4
    image = output.attention[0]["image_to_image"].shape[-1]
    assert image == (197 if preset == "released" else 3 * 196)
    assert output.attention[-1]["joint"].shape[-2:] == (image + text, image + text)


def test_paper_residual_is_equation_9(some_inputs):
    """Tokens + MLP(Norm(T)) with T the bare attention: with T at zero, a block adds MLP(Norm(0))."""
    net = network("paper")
    block = net.fusion[0]
    for layer in (block.attention.out_image, block.attention.out_text):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    image, text = tokens(5), tokens(3)
    with torch.no_grad():
        new_image, _, _ = block(image, text, False)
        constant = block.mlp_image(block.mlp_norm_image(torch.zeros_like(image.values)))
    assert torch.allclose(new_image.values, image.values + constant, atol=1e-6)


def test_alpha_zero_cuts_the_exchange_between_image_and_text(some_inputs):
    block = network(alpha=0.0).fusion[0]
    image = tokens(5)
    with torch.no_grad():
        first, _, _ = block(image, tokens(3), False)
        second, _, _ = block(image, tokens(3), False)
    assert torch.equal(first.values, second.values)


def test_the_probability_is_one_sigmoid_of_the_last_logit(some_inputs):
    for preset in ("default", "released"):
        output = network(preset)(some_inputs())
        assert torch.allclose(output.probability, 1 / (1 + torch.exp(-output.logits[:, -1])))


def test_a_wrong_setting_is_refused_by_name():
    with pytest.raises(InputError, match="preset: 'papre'"):
        TMDL.from_preset("papre")
    with pytest.raises(InputError, match="fusion_depth 9"):
        TMDL.from_preset("paper", size="small", fusion_depth=9)
    with pytest.raises(InputError, match="class_token"):
        TMDL.from_preset("paper", size="small", pooling="cls")
