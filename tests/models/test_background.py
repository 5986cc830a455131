import pytest
import torch

from bayes_splat import harmonics
from bayes_splat.models import background
from bayes_splat.types import Rendering
from tests.helpers_scenes import BACKGROUND

BEHIND = torch.tensor(BACKGROUND, dtype=torch.float64)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 2])
def test_colors_and_coefficients_lose_the_same(degree):
    """From every side, the colour of what is left is the colour less the background."""
    size = (degree + 1) ** 2
    own, sides = uniform(7, 3, size), torch.nn.functional.normalize(uniform(7, 3) - 0.4, dim=-1)
    basis = harmonics.evaluate(degree, sides)
    left = own - background.harmonics(BEHIND, own)
    before, after = (torch.einsum("gcd,gd->gc", values, basis) for values in (own, left))
    torch.testing.assert_close(after, background.over(before, BEHIND))
    torch.testing.assert_close(before - after, BEHIND.expand(7, 3))


def test_what_is_put_behind_comes_back():
    colors, depths, alphas = uniform(1, 2, 3, 4, 3), uniform(1, 2, 3, 4), uniform(1, 2, 3, 4)
    seen = background.put_behind(Rendering(colors, depths, alphas), BEHIND)
    torch.testing.assert_close(seen.colors - colors, BEHIND.expand_as(colors))
    torch.testing.assert_close(background.over(seen.colors, BEHIND), colors)
    assert seen.depths is depths
    assert seen.alphas is alphas


def test_over_black_nothing_changes():
    colors = uniform(2, 3)
    rendering = Rendering(uniform(1, 1, 2, 2, 3), uniform(1, 1, 2, 2), uniform(1, 1, 2, 2))
    assert background.over(colors, None) is colors
    assert background.put_behind(rendering, None) is rendering
    assert not background.harmonics(None, uniform(4, 3, 9)).any()


def test_pictures_keep_their_precision():
    like = uniform(4, 3, 4).float()
    assert background.harmonics(BEHIND, like).dtype == torch.float32
    assert background.over(like[..., 0], BEHIND).dtype == torch.float32
