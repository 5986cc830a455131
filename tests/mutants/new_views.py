"""Faults in what is behind the Gaussians, and in what context views teach each other."""

from tests.mutants.table import Mutant

BEHIND = "tests/models/test_background.py::"
CROSS = "tests/models/test_cross_views.py::"
DEPTH_ERROR = "tests/test_depth_error.py::"
DISCREPANCY = "tests/test_discrepancy.py::"
LAW = "tests/test_error_law.py::"
HARMONICS = "tests/models/test_harmonics_gibbs.py::"
REMOTENESS = "tests/test_remoteness.py::"
RESIDUALS = "tests/test_residuals.py::"
SCORES = RESIDUALS + "test_it_is_by_how_much_scores_vary_more_than_those_of_independent_pixels"

MUTANTS = [
    Mutant(
        "a held-out view keeps its own Gaussians",
        "models/cross_views.py",
        "if other != view]",
        "if other >= 0]",
        (CROSS + "test_one_photograph_and_the_gaussians_of_all_others",),
    ),
    Mutant(
        "the smooth prior of a held-out view looks at its photograph",
        "models/cross_views.py",
        "images[..., others, :, :, :]",
        "images[..., [view] * len(others), :, :, :]",
        (CROSS + "test_a_smooth_prior_takes_its_contrast_from_where_the_gaussians_are_born",),
    ),
    Mutant(
        "new views are as sure where nothing is seen",
        "bayes_splat/discrepancy.py",
        "np.square(pictures.through)[..., None]",
        "(0.0 * pictures.through)[..., None]",
        (
            DISCREPANCY + "test_terms_by_hand",
            DISCREPANCY + "test_unseen_pixels_are_where_errors_are_found",
        ),
    ),
    Mutant(
        "light through all Gaussians counts as light through those of other views",
        "bayes_splat/discrepancy.py",
        "pictures.through.clip(0.0, 1.0), THINNING",
        "pictures.through.clip(0.0, 1.0), 1.0",
        (DISCREPANCY + "test_new_views_by_hand",),
    ),
    Mutant(
        "draws are as sure of depth as they look",
        "bayes_splat/depth_error.py",
        "DRAWS * spread",
        "0.0 * spread",
        (
            "tests/evaluation/test_predictive.py::"
            "test_depths_of_draws_are_wrong_together_where_the_error_of_new_views_was_learned",
            DEPTH_ERROR + "test_both_spreads_add_up_in_squares",
        ),
    ),
    Mutant(
        "Gaussians of a view that is left out make depths uncertain",
        "bayes_splat/depth_error.py",
        "cross_views.without(opacity, without_view, model.num_views)",
        "opacity",
        (DEPTH_ERROR + "test_a_view_is_left_out_of_the_spread",),
    ),
    Mutant(
        "new views err as much wherever they are",
        "bayes_splat/discrepancy.py",
        "share * remoteness)",
        "share * np.ones_like(remoteness))",
        (DISCREPANCY + "test_errors_that_change_slowly_grow_with_the_distance_and_others_do_not",),
    ),
    Mutant(
        "distances among context views are forgotten",
        "bayes_splat/remoteness.py",
        "- 0.5 * among",
        "- 0.0 * among",
        (
            REMOTENESS + "test_by_hand_for_two_context_views",
            REMOTENESS + "test_it_is_the_variance_of_brownian_motion",
        ),
    ),
    Mutant(
        "pixels that no other view sees change slowly too",
        "bayes_splat/discrepancy.py",
        "pictures.through < SEEN),",
        "pictures.through < 2.0),",
        (DISCREPANCY + "test_the_fit_tells_errors_that_change_slowly_from_others",),
    ),
    Mutant(
        "errors of new views have the tails of a Normal",
        "bayes_splat/error_law.py",
        "np.sqrt(half / special.gammaincinv(half, levels))",
        "np.ones(number)",
        (LAW + "test_multipliers_make_a_student_t",),
    ),
    Mutant(
        "components are draws where errors are those of the mean picture",
        "bayes_splat/evaluation/predictive.py",
        "np.broadcast_to(pictures.mean.astype(np.float32), colors.shape)",
        "colors",
        (
            "tests/evaluation/test_predictive.py::"
            "test_errors_are_those_of_the_mean_picture_where_they_were_learned",
        ),
    ),
    Mutant(
        "photographs keep the background that pictures are over",
        "models/background.py",
        "return colors if background is None else colors - background.to(colors)",
        "return colors",
        (
            BEHIND + "test_colors_and_coefficients_lose_the_same",
            BEHIND + "test_the_likelihood_is_that_of_whole_pictures",
        ),
    ),
    Mutant(
        "blocks of tiles see the background that photographs are over",
        "models/tile_blocks.py",
        "return model.pictures(depth, opacity)",
        "return model.render(depth, opacity, cameras).colors",
        ("tests/models/test_tile_blocks.py::test_energy_and_gradient_are_those_of_the_model",),
    ),
    Mutant(
        "colours over a background are drawn around the proposal's own",
        "models/harmonics_gibbs.py",
        "harmonics.double() - shift,",
        "harmonics.double(),",
        (HARMONICS + "test_a_background_shifts_the_problem_and_nothing_else",),
    ),
    Mutant(
        "pixels that err together count one by one",
        "bayes_splat/held_out.py",
        "math.sqrt(together) * residuals",
        "1.0 * residuals",
        ("tests/test_held_out.py::test_pixels_that_err_together_count_as_fewer",),
    ),
    Mutant(
        "of two pixels that err together one is forgotten",
        "bayes_splat/residuals.py",
        "total += 2.0 * weight",
        "total += weight",
        (SCORES,),
    ),
    Mutant(
        "scores take the falloff for its square",
        "bayes_splat/residuals.py",
        "columns**2) / (4.0 * variance))",
        "columns**2) / (2.0 * variance))",
        (SCORES,),
    ),
]
