import torch

from bayes_splat.rendering import cpu_rays
from tests import helpers_scenes as scenes


def rays(size: int, chains: int = 3):
    generator = torch.Generator().manual_seed(size)
    origins, directions, footprints = torch.rand(3, size, 3, generator=generator).unbind(0)
    depth = 1.0 + torch.rand(chains, size, generator=generator, dtype=torch.float64)
    return depth, origins, directions, footprints


def test_placing_is_plain_arithmetic():
    depth, origins, directions, footprints = rays(5000)
    depth.requires_grad_()
    means, scales = cpu_rays.place(depth, origins, directions, footprints)
    single = depth.float()[..., None]
    assert torch.equal(means, origins + single * directions)
    assert torch.equal(scales, single * footprints)
    generator = torch.Generator().manual_seed(0)
    along = torch.rand(2, *means.shape, generator=generator)
    (slope,) = torch.autograd.grad((along[0] * means + along[1] * scales).sum(), depth)
    wanted = (along[0] * directions + along[1] * footprints).sum(-1)
    assert slope.dtype == torch.float64
    torch.testing.assert_close(slope.float(), wanted, rtol=1e-5, atol=1e-6)


def test_keys_are_those_of_the_bucket_centres():
    near, far, buckets = 1.0, 2.0, 7
    depth, *_ = rays(9000)
    depth[0, :4] = torch.tensor([0.5, torch.nan, torch.inf, 3.0])
    ones = torch.ones(9000).double()
    slope = buckets / (1.0 / near - 1.0 / far)
    start, towards = torch.rand(2, 2, 9000, generator=torch.Generator().manual_seed(1)).double()
    arguments = (depth, slope / near * ones, slope * ones, ones / near, ones / far, buckets)
    keys = cpu_rays.sort_keys(*arguments, start, towards)
    place = ((1.0 / near - 1.0 / depth) / (1.0 / near - 1.0 / far) * buckets).nan_to_num()
    share = (place.floor().clamp(0, buckets - 1) + 0.5) / buckets
    centres = 1.0 / ((1.0 - share) / near + share / far)
    assert keys.dtype == torch.float32
    torch.testing.assert_close(keys, (start + towards * centres[:, None]).float())


def test_bits_do_not_depend_on_threads_or_on_other_chains():
    depth, *rest = rays(9000)
    ones = torch.ones(9000).double()
    lines = (7.0 * ones, 7.0 * ones, ones, 0.5 * ones, 7, ones.expand(2, -1), ones.expand(2, -1))
    results = []
    for number in (1, 2, 3):
        with scenes.threads(number):
            results.append((*cpu_rays.place(depth, *rest), cpu_rays.sort_keys(depth, *lines)))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    alone = (*cpu_rays.place(depth[1:2], *rest), cpu_rays.sort_keys(depth[1:2], *lines))
    assert all(torch.equal(a[0], b[1]) for a, b in zip(alone, results[0], strict=True))
