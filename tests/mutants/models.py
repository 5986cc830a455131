"""Faults in the models' room."""

from tests.mutants.table import Mutant

MOVES = "tests/models/test_depth_moves.py::"
ONE_MOVE = MOVES + "test_acceptance_of_one_move_is_that_of_the_whole_model"
PRIORS = "tests/models/test_priors.py::"
OFFSETS = "tests/models/test_bucket_offsets.py::"
OPACITY = "tests/models/test_opacity_gibbs.py::"
MAP = "tests/models/test_merge_map.py::"
MERGES = "tests/models/test_merges.py::"
BIRTHS = "tests/models/test_births.py::"
JUMPS = "tests/models/test_reversible_jump.py::"
COUNTS = "tests/integration/test_count_joint_distribution.py::"
SPLATS = "tests/models/test_splat_model.py::"

MUTANTS = [
    Mutant(
        "depth moves look at the old footprint alone",
        "models/depth_moves.py",
        "for depth in (old, new):",
        "for depth in (old, old):",
        (MOVES + "test_touched_pixels_are_all_that_change",),
    ),
    Mutant(
        "depth moves that share a pixel are made together",
        "models/depth_moves.py",
        "minlength=shape.numel()) == 0)",
        "minlength=shape.numel()) >= 0)",
        (MOVES + "test_movers_share_no_pixel_and_nobody_waits_in_vain",),
    ),
    Mutant(
        "jumps of depth without their reverse density",
        "models/depth_moves.py",
        "log_ratio = self._log_jump(depth) - self._log_jump(candidate)",
        "log_ratio = torch.zeros_like(depth)",
        (ONE_MOVE,),
    ),
    Mutant(
        "the walk in disparity without its slope",
        "models/depth_moves.py",
        "proposal.disparity_slope(depth) / proposal.disparity_slope(candidate)",
        "torch.ones_like(depth)",
        (MOVES + "test_walks_are_as_likely_there_as_back", ONE_MOVE),
    ),
    Mutant(
        "the density of jumps forgets the share that explores",
        "models/depth_moves.py",
        "(1.0 - _EXPLORE) * informed + _EXPLORE * proposal.disparity_slope(depth)",
        "informed",
        (MOVES + "test_jumps_have_the_density_that_the_ratio_assumes", ONE_MOVE),
    ),
    Mutant(
        "depth moves take the likelihood ratio upside down",
        "models/depth_moves.py",
        "before, after = (seen.colors",
        "after, before = (seen.colors",
        (ONE_MOVE,),
    ),
    Mutant(
        "depth moves take the other view's noise",
        "models/touched_pictures.py",
        "noise.gather(1, view).square()",
        "noise.gather(1, noise.shape[1] - 1 - view).square()",
        (ONE_MOVE,),
    ),
    Mutant(
        "depth moves count the likelihood twice",
        "models/depth_moves.py",
        "0.5 * (before - after) / seen.variance",
        "(before - after) / seen.variance",
        (ONE_MOVE,),
    ),
    Mutant(
        "the shape of the noise's conditional is off by one",
        "models/noise_gibbs.py",
        "concentration + 0.5 * count",
        "concentration + 0.5 * count + 1.0",
        ("tests/models/test_noise_gibbs.py::test_draws_are_inverse_gamma",),
    ),
    Mutant(
        "the noise of one view counts the pixels of all",
        "models/noise_gibbs.py",
        "count = 3 * self.model.num_pixels / squares.shape[-1]",
        "count = 3 * self.model.num_pixels",
        ("tests/models/test_noise_gibbs.py",),
    ),
    Mutant(
        "half of the Jacobian of depth is missing",
        "models/priors.py",
        "return logistic.log_density(x) + slope",
        "return slope",
        (PRIORS + "test_log_determinant_of_depth_against_autograd",),
    ),
    Mutant(
        "uniform disparity with the slope of log depth",
        "models/priors.py",
        "density = -2.0 * torch.log(value)",
        "density = -torch.log(value)",
        (PRIORS + "test_uniform_disparity_integrates_to_one",),
    ),
    Mutant(
        "buckets are off by one",
        "models/proposal.py",
        "return scaled.long().clamp_(",
        "return scaled.long().add_(1).clamp_(",
        ("tests/models/test_proposal.py::test_buckets_and_their_centres_are_inverse",),
    ),
    Mutant(
        "the proposal's density forgets the width of a bucket",
        "models/proposal.py",
        "torch.log(self.num_buckets * self.disparity_slope(depth))",
        "torch.log(self.disparity_slope(depth))",
        ("tests/models/test_proposal.py::test_density_integrates_to_one_over_depth",),
    ),
    Mutant(
        "offsets without their Jacobian",
        "models/bucket_offsets.py",
        "self.coordinates.target.potential_energy(moved) - log_slope.sum(-1)",
        "self.coordinates.target.potential_energy(moved)",
        (OFFSETS + "test_energy_is_the_joint_one_with_the_jacobian",),
    ),
    Mutant(
        "the gradient of offsets without the chain rule",
        "models/bucket_offsets.py",
        'gradient["depth"] * log_slope.exp() - log_slope_gradient',
        'gradient["depth"] - log_slope_gradient',
        (OFFSETS + "test_gradient_is_the_slope_of_the_energy",),
    ),
    Mutant(
        "a new opacity leaves the light behind it stale",
        "models/opacity_gibbs.py",
        "self.through[later] *= ratio[which]",
        "self.through[later] *= 1.0",
        (OPACITY + "test_new_opacities_leave_the_state_of_a_fresh_start",),
    ),
    Mutant(
        "the precision of an opacity is doubled",
        "models/opacity_gibbs.py",
        "weights=weight * slope.square().sum(0)",
        "weights=2.0 * weight * slope.square().sum(0)",
        (OPACITY + "test_statistics_are_those_of_the_pictures",),
    ),
    Mutant(
        "opacities are drawn with a cutoff of their own",
        "models/opacity_gibbs.py",
        "settings = blocks.falloff_settings(self.model, type(self).__name__)",
        "settings = RenderSettings()",
        (OPACITY + "test_the_renderers_own_settings_are_used",),
    ),
    Mutant(
        "opacities whose alpha is clamped are not refused",
        "models/blocks.py",
        "if settings.max_alpha < MAX_OPACITY:",
        "if settings.max_alpha < 0.0:",
        (OPACITY + "test_models_that_are_not_affine_are_refused", "tests/models/test_blocks.py"),
    ),
    Mutant(
        "far tails of the truncated Normal are not corrected",
        "models/truncated_normal.py",
        "correction = 0.5 * (here**2 - (standard - low) ** 2)",
        "correction = 0.0 * here",
        (
            "tests/models/test_truncated_normal.py::test_the_correction_is_the_ratio_of_target_and_candidate_densities",
        ),
    ),
    Mutant(
        "minibatches are not scaled up",
        "models/splat_model.py",
        "scale=self.num_pixels / chosen",
        "scale=1.0",
        (SPLATS + "test_minibatch_gradients_average_to_the_full_one",),
    ),
    Mutant(
        "chosen pixels have the other view's noise",
        "models/splat_model.py",
        "view = self._view_of(pixels).reshape(*batch, -1)",
        "view = self.num_views - 1 - self._view_of(pixels).reshape(*batch, -1)",
        (SPLATS + "test_minibatch_gradients_average_to_the_full_one",),
    ),
    Mutant(
        "the likelihood forgets that loud noise is thin",
        "models/likelihood.py",
        "counts * (noise_scale.log() + constant)",
        "counts * constant",
        ("tests/models/test_likelihood.py::test_log_density_of_chosen_pixels",),
    ),
    Mutant(
        "block labels are carried to the wrong view",
        "models/tile_labels.py",
        "geometry.project_points(flat, cameras[view : view + 1])",
        "geometry.project_points(flat, cameras[:1])",
        ("tests/models/test_tile_labels.py::test_the_same_point_has_the_same_label_in_both_views",),
    ),
    Mutant(
        "blocks look at one end of a step of disparity",
        "models/tile_activity.py",
        "for edge in (cell, cell + 1)",
        "for edge in (cell, cell)",
        ("tests/models/test_tile_activity.py::test_active_gaussians_touch_their_own_block_only",),
    ),
    Mutant(
        "blocks overlook changes of label downwards",
        "models/tile_activity.py",
        "changes = changes + self._sum(1, image, top + 1, bottom, left, right)",
        "changes = changes + 0",
        ("tests/models/test_tile_activity.py::test_search_looks_at_every_pixel_of_the_box",),
    ),
    Mutant(
        "offsets in blocks without their Jacobian",
        "models/tile_blocks.py",
        'log_prob = log_prob + _log_slope(block["offset"]) - _log_slope(x)',
        "log_prob = log_prob + 0.0 * x",
        ("tests/models/test_tile_blocks.py::test_offsets_are_those_of_bucket_offsets",),
    ),
    Mutant(
        "tiles take the noise of the other view",
        "models/tile_blocks.py",
        "self.noise[:, :, None, None] ** 2)",
        "self.noise.flip(1)[:, :, None, None] ** 2)",
        ("tests/models/test_tile_blocks.py::test_energy_and_gradient_are_those_of_the_model",),
    ),
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
