import pytest
import torch


@pytest.fixture
def some_inputs():
    """A maker of random inputs of TMDL, as INTERFACES describes them."""

    def make(patients=2, tokens=50, seed=0, views=None):
        generator = torch.Generator().manual_seed(seed)
        lead = (patients,) if views is None else (patients, views)

        def draw(*shape):
            return torch.rand(*shape, generator=generator)

        return {
            **{name: draw(*lead, 1, 224, 224) for name in ("location", "texture", "margin")},
            "echogenicity": draw(*lead) - 0.5,
            "shape": 0.5 + draw(*lead),
            "report": torch.randn(patients, tokens, 768, generator=generator),
            "report_mask": torch.ones(patients, tokens, dtype=torch.bool),
            "sex": (draw(patients) > 0.5).float(),
            "age": 20 + 50 * draw(patients),
        }

    return make
