"""Faults in the compiled sweeps of sites, patches and opacities."""

from tests.mutants.table import Mutant

SITE, SITE_FILE = (
    "tests/rendering/test_cpu_site_sweep.py::test_sweeps_are_those_of_whole_pictures",
    "bayes_splat/rendering/cpu_site_sweep.py",
)
SITE_STEPS_FILE = "bayes_splat/rendering/cpu_site_steps.py"
OPAQUE = (
    "tests/rendering/test_cpu_site_sweep.py::test_what_opaque_layers_hid_is_right_once_it_is_seen"
)
FIELD_FILE = "bayes_splat/rendering/cpu_field_draws.py"
FIELD_TESTS = "tests/rendering/test_cpu_field_draws.py"
PATCH, PATCH_FILE, STEPS_FILE = (
    "tests/rendering/test_cpu_patch_sweep.py::test_sweeps_are_those_of_whole_pictures",
    "bayes_splat/rendering/cpu_patch_sweep.py",
    "bayes_splat/rendering/cpu_patch_steps.py",
)

MUTANTS = [
    Mutant(
        "the colour behind a Gaussian includes the Gaussian itself",
        SITE_STEPS_FILE,
        "of_view, at + 1, rank1, light, rest)",
        "of_view, at, rank1, light, rest)",
        (SITE,),
    ),
    Mutant(
        "seen from the offered place the Gaussian still stands behind",
        SITE_STEPS_FILE,
        "_slope(1, j, light1, rest1, color1, without, lists, work)",
        "_slope(1, j, light1, rest1, color1, error, lists, work)",
        (SITE,),
    ),
    Mutant(
        "a picture keeps half of a Gaussian that has left",
        SITE_STEPS_FILE,
        "_note(pixel, 0.0, 0, i, growth, work)",
        "_note(pixel, 0.5, 0, i, growth, work)",
        (SITE,),
    ),
    Mutant(
        "rounding grows unseen behind opaque layers",
        SITE_STEPS_FILE,
        "> _MOST_GROWTH:",
        "> 1e300:",
        (OPAQUE,),
    ),
    Mutant(
        "the smooth prior takes the wrong neighbour's edge",
        FIELD_FILE,
        "total += right[g - 1] * abs(here - depths[g - 1])",
        "total += right[g] * abs(here - depths[g - 1])",
        (SITE,),
    ),
    Mutant(
        "the smooth prior looks at the pixel above twice",
        FIELD_FILE,
        "total += below[g] * abs(here - depths[g + width])",
        "total += below[g] * abs(here - depths[g - width])",
        (SITE,),
    ),
    Mutant(
        "neighbours are where they were before the sweep",
        SITE_FILE,
        "depths[g] = relative[1, g]",
        "depths[g] = relative[0, g]",
        (SITE,),
    ),
    Mutant(
        "sites have the noise of the first view",
        SITE_FILE,
        "lin1 += precisions[view] * product1",
        "lin1 += precisions[0] * product1",
        (SITE,),
    ),
    Mutant(
        "sites reuse the random number of the offered opacity",
        SITE_FILE,
        "is_taken = uniforms[1, g] < acceptance[g]",
        "is_taken = uniforms[0, g] < acceptance[g]",
        (SITE,),
    ),
    Mutant(
        "sites without the density of the way back",
        SITE_FILE,
        "log_ratio += log_weights[1, g] - log_weights[0, g]",
        "log_ratio += log_weights[1, g]",
        (SITE,),
    ),
    Mutant(
        "the mass of the present depth is left out",
        SITE_FILE,
        "log_truncated_mass(lin1, prec1, upper) - log_truncated_mass(lin0, prec0, upper)",
        "log_truncated_mass(lin1, prec1, upper)",
        (SITE,),
    ),
    Mutant(
        "a Gaussian that has moved stays in its old lists",
        SITE_STEPS_FILE,
        "            remove(ranks, alphas, fetch(entries[0], i))",
        "            put(alphas, fetch(entries[0], i), fetch(alphas, fetch(entries[0], i)))",
        (SITE,),
    ),
    Mutant(
        "the footprint of the present depth is taken for the offered one's",
        SITE_FILE,
        "shapes[place, view, g],",
        "shapes[0, view, g],",
        (SITE,),
    ),
    Mutant(
        "patches tear edges to members that move along",
        STEPS_FILE,
        "other = offered[g + 1] if x + 1 < far else depths[g + 1]",
        "other = depths[g + 1]",
        (PATCH,),
    ),
    Mutant(
        "patches take the wrong neighbour's edge above",
        STEPS_FILE,
        "total += below[g - width] * (abs(there - other)",
        "total += below[g] * (abs(there - other)",
        (PATCH,),
    ),
    Mutant(
        "patches overlook pixels that they no longer cover",
        STEPS_FILE,
        "falloffs, 0)\n            touched = _touch(pixels, covered, touched, work)\n        _sort",
        "falloffs, 0)\n        _sort",
        (PATCH,),
    ),
    Mutant(
        "members of a patch come in the order of their pixels",
        STEPS_FILE,
        "while place > 0 and rank[2 * members[place - 1] + 1] > rank[2 * g + 1]:",
        "while place > 0 and members[place - 1] > g:",
        (PATCH,),
    ),
    Mutant(
        "energies stay behind when a patch is taken",
        STEPS_FILE,
        "work.energies[pixel] = work.offered[pixel]\n",
        "work.energies[pixel] = work.energies[pixel]\n",
        (PATCH,),
    ),
    Mutant(
        "patches count the members themselves as behind them",
        STEPS_FILE,
        "lists.rank[view, 2 * g])] = 0.0",
        "lists.rank[view, 2 * g])] = 1.0",
        (PATCH,),
    ),
    Mutant(
        "patches leave the range of depths",
        PATCH_FILE,
        "if given.is_inside[chain, g] else -math.inf",
        "if given.is_inside[chain, g] else 0.0",
        (PATCH,),
    ),
    Mutant(
        "patches see neighbours where they were before the sweep",
        PATCH_FILE,
        "work.depths[g] = given.relative[chain, 1, g]",
        "work.depths[g] = given.relative[chain, 0, g]",
        (PATCH,),
    ),
    Mutant(
        "patches of both views share their random numbers",
        PATCH_FILE,
        "patch = (own_view * rows + row) * columns + column",
        "patch = row * columns + column",
        (PATCH,),
    ),
    Mutant(
        "the scale of the shifts moves on after warmup",
        "models/patch_moves.py",
        "if is_warmup:\n            tuning = tuning.updated",
        "if True:\n            tuning = tuning.updated",
        (
            "tests/models/test_patch_moves.py"
            "::test_warmup_finds_the_acceptance_rate_and_nothing_moves_afterwards",
        ),
    ),
    Mutant(
        "patches shift in one direction only",
        "models/patch_moves.py",
        "shifts = scale[:, None] * blocks.normals(generators, 3, patches)",
        "shifts = scale[:, None] * blocks.normals(generators, 3, patches).abs()",
        ("tests/models/test_patch_moves.py::test_shifts_are_symmetric_and_half_of_them_flat",),
    ),
    Mutant(
        "the density of site jumps forgets the share that explores",
        "models/site_sweep.py",
        "(1.0 - _EXPLORE) * _log_informed(proposal, depth).exp() + _EXPLORE",
        "_log_informed(proposal, depth).exp()",
        ("tests/models/test_site_sweep.py::test_candidates_have_the_density_that_is_claimed",),
    ),
    Mutant(
        "depths fresh from the prior have its factor in the ratio once more",
        "models/site_sweep.py",
        "ratios = torch.where(is_fresh, fresh.log_ratios, log_density[:, 1])",
        "ratios = log_density[:, 1]",
        (
            "tests/models/test_site_sweep.py"
            "::test_the_smooth_prior_is_offered_to_one_half_after_the_other",
        ),
    ),
    Mutant(
        "neighbours are visited together",
        "models/site_sweep.py",
        "halves = [is_odd, ~is_odd]",
        "halves = [is_odd | ~is_odd]",
        (
            "tests/models/test_site_sweep.py"
            "::test_the_smooth_prior_is_offered_to_one_half_after_the_other",
        ),
    ),
    Mutant(
        "mirror images are not those of the present depth",
        FIELD_FILE,
        "share = 1.0 - (below + _part(e4, s4, o3, 1.0, m4, here)) / total",
        "share = (below + _part(e4, s4, o3, 1.0, m4, here)) / total",
        (f"{FIELD_TESTS}::test_mirror_images_undo_themselves",),
    ),
    Mutant(
        "draws from the prior mistake the side of a neighbour",
        FIELD_FILE,
        "s2 = s1 - 2.0 * w1",
        "s2 = s1 - 2.0 * w2",
        (f"{FIELD_TESTS}::test_quantiles_are_those_of_torch",),
    ),
    Mutant(
        "an opacity has no light in front of it",
        "bayes_splat/rendering/cpu_sweep_steps.py",
        "subtract(multiply_add(first_lane(here), color, error), here)",
        "subtract(multiply_add(1.0, color, error), here)",
        ("tests/rendering/test_cpu_opacity_sweep.py::test_draws_are_those_of_whole_pictures",),
    ),
    Mutant(
        "the Beta prior of opacities has its sides exchanged",
        "bayes_splat/rendering/cpu_sweep_steps.py",
        "(a - 1.0) * math.log(inside) + (b - 1.0) * math.log(upper - inside)",
        "(b - 1.0) * math.log(inside) + (a - 1.0) * math.log(upper - inside)",
        (SITE,),
    ),
]
