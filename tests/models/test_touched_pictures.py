"""Two pictures of the pixels that moves touch."""

import torch

from bayes_splat.models import blocks, touched_pictures
from tests import helpers_scenes as scenes


def test_pictures_are_those_of_the_model_and_sums_go_to_their_groups():
    model = scenes.tiny_model(dtype=torch.float64, noise="per_view")
    first, second = scenes.prior_draws(model, 3), scenes.prior_draws(model, 3, seed=5)
    noise = blocks.noise_per_view(model, first["noise_scale"])
    owner = torch.full((3, model.num_pixels), -1)
    owner[0, 2:5], owner[0, 9], owner[2, 20:] = 1, 0, 1  # the second chain moves nothing
    depths, opacities = (
        torch.stack([first[name], second[name]], dim=1) for name in ("depth", "opacity")
    )
    seen = touched_pictures.touched_pictures(model, owner, 2, depths, opacities, noise)
    whole = [model.predict_pixels(s["depth"], s["opacity"]) for s in (first, second)]
    observed, view = model.observed()
    variance = noise[:, view] ** 2
    difference = seen.sums((seen.colors[:, 1] - seen.colors[:, 0]).sum(-1) / seen.variance)
    squares = seen.sums((seen.observed - seen.colors[:, 0]).square().sum(-1))
    for chain in range(3):
        for group in range(2):
            mine = owner[chain] == group
            change = ((whole[1] - whole[0])[chain].sum(-1) / variance[chain])[mine].sum()
            torch.testing.assert_close(difference[chain, group], change)
            error = (observed - whole[0][chain]).square().sum(-1)[mine].sum()
            torch.testing.assert_close(squares[chain, group], error)
