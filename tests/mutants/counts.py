"""Faults in moves between scenes with different numbers of Gaussians."""

from tests.mutants.table import Mutant

MAP = "tests/models/test_merge_map.py::"
MERGES = "tests/models/test_merges.py::"
BIRTHS = "tests/models/test_births.py::"
JUMPS = "tests/models/test_reversible_jump.py::"
COUNTS = "tests/integration/test_count_joint_distribution.py::"

MUTANTS = [
    Mutant(
        "splits without the slope of the other ray",
        "models/merge_map.py",
        "tau * seen**2 * own_range / (depth**2 * other_range * pairs.slope)",
        "tau",
        (MAP + "test_the_determinant_is_that_of_autograd",),
    ),
    Mutant(
        "pairs of a round may share a slot",
        "models/merge_map.py",
        "return is_real & mine.all(-1)",
        "return is_real",
        (MAP + "test_no_slot_is_in_two_pairs",),
    ),
    Mutant(
        "splits without their determinant",
        "models/merges.py",
        "log_prior - log_gap + log_det",
        "log_prior - log_gap",
        (MERGES + "test_merges_and_splits_balance_each_other",),
    ),
    Mutant(
        "splits without the density of the gap",
        "models/merges.py",
        "log_prior - log_gap + log_det",
        "log_prior + log_det",
        (MERGES + "test_merges_and_splits_balance_each_other",),
    ),
    Mutant(
        "births without the density of their depth",
        "models/births.py",
        "site_sweep.log_prior(model, place) - jumps.jump_log_prob(model.proposal, place)",
        "site_sweep.log_prior(model, place)",
        (BIRTHS + "test_births_and_deaths_balance_each_other",),
    ),
    Mutant(
        "births without the density of their opacity",
        "models/births.py",
        "model.opacity_prior().log_prob(opacity) + log_mass",
        "model.opacity_prior().log_prob(opacity)",
        (BIRTHS + "test_births_and_deaths_balance_each_other",),
    ),
    Mutant(
        "empty slots are more likely to be chosen",
        "models/reversible_jump.py",
        "outcome = make(generators, scene, chosen)",
        "chosen = scene.is_present.int().argsort(1)[:, : chosen.shape[1]]\n"
        "            outcome = make(generators, scene, chosen)",
        (COUNTS + "test_right_kernels_keep_the_joint_distribution[births]",),
    ),
    Mutant(
        "the odds of a slot are upside down",
        "models/slots.py",
        'log_odds=position["inclusion"][:, None]',
        'log_odds=-position["inclusion"][:, None]',
        (JUMPS + "test_without_photographs_the_count_keeps_to_its_prior",),
    ),
    Mutant(
        "pairs are made by where Gaussians are",
        "models/merges.py",
        "drawn = proposal.depth_at(jumps.draw_jumps(proposal, generators)).gather(1, chosen)",
        "drawn = scene.depth.gather(1, chosen)",
        (
            MERGES + "test_partners_are_the_same_whatever_the_state",
            MERGES + "test_merges_and_splits_balance_each_other",
        ),
    ),
    Mutant(
        "the inclusion counts empty slots",
        "models/inclusion_gibbs.py",
        "[a + count, b + present.shape[-1] - count]",
        "[a + present.shape[-1] - count, b + count]",
        ("tests/models/test_inclusion_gibbs.py::test_draws_are_beta_with_the_count_added",),
    ),
    Mutant(
        "empty slots are shown",
        "models/scene_sites.py",
        "shown = scene.opacities * _rows_of(self.present, scene.opacities)",
        "shown = scene.opacities",
        ("tests/models/test_scene_sites.py::test_empty_slots_show_nothing",),
    ),
    Mutant(
        "site sweeps move empty slots",
        "models/site_sweep.py",
        "opacity = torch.where(is_present, opacity, 0.0)",
        "opacity = 1.0 * opacity",
        (COUNTS + "test_other_moves_leave_empty_slots_as_they_are",),
    ),
]
