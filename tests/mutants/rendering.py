"""Faults in the renderers."""

from tests.mutants.table import Mutant

REFERENCE = "tests/rendering/test_reference.py::"
BAD_CHAINS = (
    "tests/rendering/test_non_finite.py::test_bad_chains_are_nan_and_the_others_keep_their_bits"
)

COLORS = "tests/rendering/test_cpu_color_sweep.py::"
REGRESSION = COLORS + "test_draws_are_those_of_regressions_on_whole_pictures"

MUTANTS = [
    Mutant(
        "a new colour is not taken from the residual",
        "bayes_splat/rendering/cpu_color_sweep.py",
        "multiply_add(-weight, change, load_quad(state, place))",
        "multiply_add(0.0 * weight, change, load_quad(state, place))",
        (REGRESSION,),
    ),
    Mutant(
        "the precision of a colour is that of the last view",
        "bayes_splat/rendering/cpu_color_sweep.py",
        "factor[k, other] += square * basis[k] * basis[other]",
        "factor[k, other] = square * basis[k] * basis[other]",
        (REGRESSION,),
    ),
    Mutant(
        "colours are pulled towards zero, not to the prior's mean",
        "bayes_splat/rendering/cpu_color_sweep.py",
        "away = prior_mean[g, channel, k] - here[channel, k]",
        "away = 0.0 - here[channel, k]",
        (REGRESSION, COLORS + "test_those_that_nobody_sees_are_drawn_from_the_prior"),
    ),
    Mutant(
        "all chains see the photographs of the first",
        "bayes_splat/rendering/cpu_color_sweep.py",
        "observed[chain if observed.shape[0] > 1 else 0]",
        "observed[0]",
        (COLORS + "test_neither_threads_nor_other_chains_matter",),
    ),
    Mutant(
        "compiled pictures clip colours that are not to be clipped",
        "bayes_splat/rendering/cpu_autograd.py",
        "gaussians.harmonics.shape[-1] == 1 and settings.least_color == 0.0",
        "gaussians.harmonics.shape[-1] == 1",
        ("tests/rendering/test_cpu.py::test_colors_that_are_not_clipped",),
    ),
    Mutant(
        "claims overlook where a Gaussian moves to",
        "bayes_splat/rendering/cpu_claims.py",
        "_claim_ellipse(after[image, g]",
        "_claim_ellipse(before[image, g]",
        ("tests/rendering/test_cpu_claims.py::test_those_that_meet_an_earlier_one_wait",),
    ),
    Mutant(
        "pixels never stop early",
        "bayes_splat/rendering/reference.py",
        "> settings.min_transmittance)",
        "> 0.0)",
        (REFERENCE + "test_crowded_scene",),
    ),
    Mutant(
        "alpha is not clamped",
        "bayes_splat/rendering/reference.py",
        "alpha = (opacity * falloffs).clamp_max(settings.max_alpha)",
        "alpha = opacity * falloffs",
        (REFERENCE + "test_alpha_is_clamped",),
    ),
    Mutant(
        "the caller's order is ignored",
        "bayes_splat/rendering/reference.py",
        "depths if sort_depths is None else sort_depths.expand_as(depths),",
        "depths,",
        (REFERENCE + "test_sort_depths_order_the_gaussians",),
    ),
    Mutant(
        "ties in depth are broken from behind",
        "bayes_splat/rendering/pairs.py",
        "order = torch.sort(sort_depths, dim=-1, stable=True).indices",
        "order = num_gaussians - 1 - sort_depths.flip(-1).sort(dim=-1, stable=True).indices",
        (
            "tests/rendering/test_pairs.py"
            "::test_pixels_ascend_and_their_gaussians_come_near_first_ties_by_index",
        ),
    ),
    Mutant(
        "the gradient of light forgets the pair's own alpha",
        "bayes_splat/rendering/segments.py",
        "return -later_sum(weighted, position) / through, None",
        "return -later_sum(weighted, position), None",
        ("tests/rendering/test_segments.py::test_gradient_of_transmittance",),
    ),
    Mutant(
        "squared errors have half of their gradient",
        "bayes_splat/rendering/cpu_squared_errors.py",
        "(2.0 * gradient).float()",
        "gradient.float()",
        ("tests/rendering/test_cpu_squared_errors.py",),
    ),
    Mutant(
        "chains that are not finite are drawn",
        "bayes_splat/rendering/reference.py",
        "torch.isfinite(torch.cat(numbers, dim=1)).all(dim=1)",
        "torch.isfinite(torch.cat(numbers, dim=1)).any(dim=1)",
        (BAD_CHAINS,),
    ),
    Mutant(
        "pictures of good chains go to the first places",
        "bayes_splat/rendering/non_finite.py",
        "index_copy(0, good, p)",
        "index_copy(0, torch.arange(len(good)), p)",
        (BAD_CHAINS,),
    ),
]
