import numpy as np
import pytest

from bayes_splat import train_figures
from bayes_splat.scenes.examples import Example
from tests import helpers_encoder, helpers_small_encoder


@pytest.mark.parametrize("is_small", [True, False])
def test_four_panels_of_the_first_view(is_small):
    views = helpers_small_encoder.scene(32, 32)
    model = helpers_small_encoder.tiny_encoder() if is_small else helpers_encoder.encoder()
    made = train_figures.figure(model, Example("val_0", views[:2], views[2:]), "step 3")
    titles = [axes.get_title() for axes in made.axes if axes.get_title()]
    assert titles == ["photograph", "true disparity", "disparity of the mode", "opacity"]
    assert views.depths is not None
    shown = made.axes[1].images[0].get_array()
    assert np.asarray(shown) == pytest.approx((1 / views.depths[0]).numpy())
    assert made.get_suptitle() == "val_0, step 3"
