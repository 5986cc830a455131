import pytest
import torch

from bayes_splat.models.small_encoder.blocks import upsample_smoothly
from bayes_splat.models.small_encoder.head import HeadNet, _certainty
from bayes_splat.models.small_encoder.matching import PHOTOMETRIC
from bayes_splat.models.small_encoder.sizes import TINY


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def test_untrained_it_repeats_the_volumes_answer():
    torch.manual_seed(0)
    logits = random(2, 8, 4, 6)
    final, offsets, opacities = HeadNet(TINY)(
        random(2, TINY.volume, 8, 4, 6),
        logits,
        random(2, 8, 4, 6),
        random(2, PHOTOMETRIC, 8, 8, 12),
        random(2, TINY.full, 8, 12),
    )
    assert torch.equal(final, upsample_smoothly(logits))
    assert (offsets == 0).all()
    assert offsets.shape == (2, 8, 8, 12)
    assert opacities.shape == (2, 8, 12)


def test_certainty_of_one_pixel():
    logits = torch.tensor([0.0, 2.0, 1.0, -1.0]).view(1, 4, 1, 1)
    phi = logits.flatten().softmax(0)
    best, around, entropy, place = _certainty(logits).flatten().tolist()
    assert best == pytest.approx(float(phi[1]))
    assert around == pytest.approx(float(phi[:3].sum()))
    assert entropy == pytest.approx(float(-(phi * phi.log()).sum() / torch.tensor(4.0).log()))
    assert place == 0.25
