"""Faults in the samplers' room."""

from tests.mutants.table import Mutant

STEPS = "tests/integration/test_single_transitions.py::"
EXACT = STEPS + "test_exact_draws_stay_exact"
SWAPS = STEPS + "test_swaps_leave_every_power_as_it_is"
SGLD_BIAS = "tests/samplers/test_sgld.py::test_bias_is_the_one_that_is_documented"
ANCHORS = "tests/samplers/test_stochastic_gradients.py"
BLOCKS = "tests/samplers/test_block_mala.py::"
HAMILTONIAN = "tests/samplers/test_hamiltonian.py::"

MUTANTS = [
    Mutant(
        "Langevin noise is off by sqrt 2",
        "samplers/langevin.py",
        "(2.0 * near).sqrt()",
        "(1.0 * near).sqrt()",
        (EXACT,),
    ),
    Mutant(
        "MALA keeps its old gradient after a move",
        "samplers/mala.py",
        "positions.select(is_accepted, gradient, state.gradient)",
        "state.gradient",
        ("tests/samplers/test_mala.py", EXACT),
    ),
    Mutant(
        "MALA keeps its old energy after a move",
        "samplers/mala.py",
        "torch.where(is_accepted, energy, state.potential_energy)",
        "state.potential_energy",
        ("tests/samplers/test_mala.py", EXACT),
    ),
    Mutant(
        "MALA's tuning moves on after warmup",
        "samplers/mala.py",
        "if is_warmup:",
        "if True:",
        ("tests/samplers/test_mala.py::test_tuning_is_frozen_after_warmup",),
    ),
    Mutant(
        "the Jacobian of the inverse",
        "samplers/potential.py",
        ".log_abs_det_jacobian(",
        ".inv.log_abs_det_jacobian(",
        (STEPS + "test_a_pyro_model_with_its_data", "tests/samplers/test_potential.py"),
    ),
    Mutant(
        "the ratio of the proposal densities is left out",
        "samplers/metropolis.py",
        "energy - candidate_energy + log_proposal_ratio",
        "energy - candidate_energy",
        (EXACT,),
    ),
    Mutant(
        "the ratio of the proposal densities has the wrong sign",
        "samplers/metropolis.py",
        "energy - candidate_energy + log_proposal_ratio",
        "energy - candidate_energy - log_proposal_ratio",
        (EXACT,),
    ),
    Mutant(
        "moves uphill are refused always",
        "samplers/metropolis.py",
        "log_ratio.clamp(max=0.0).exp()",
        "(log_ratio >= 0.0).to(log_ratio)",
        (EXACT,),
    ),
    Mutant(
        "candidates without an energy are accepted",
        "samplers/metropolis.py",
        "is_number = candidate_energy.isfinite() & ~log_ratio.isnan()",
        "is_number = ~log_ratio.isnan() | True",
        ("tests/samplers/test_metropolis.py", "tests/samplers/test_mala.py"),
    ),
    Mutant(
        "all chains share one stream of random numbers",
        "samplers/positions.py",
        "return [torch.Generator().manual_seed(number) for number in seeds]",
        "return [torch.Generator().manual_seed(number) for number in seeds[:1] * len(seeds)]",
        ("tests/samplers/test_positions.py", EXACT),
    ),
    Mutant(
        "jumps without their reverse density",
        "samplers/random_walk.py",
        "log_ratio = self.jump.log_prob(state.position) - self.jump.log_prob(landed)",
        "log_ratio = -self.jump.log_prob(landed)",
        (EXACT,),
    ),
    Mutant(
        "the walk is corrected as if it had jumped",
        "samplers/random_walk.py",
        "torch.where(is_jump, log_ratio, log_proposal_ratio)",
        "log_ratio",
        ("tests/samplers/test_random_walk.py",),
    ),
    Mutant(
        "jumps tune the step size of the walk",
        "samplers/random_walk.py",
        "where=~is_jump,",
        "",
        ("tests/samplers/test_random_walk.py::test_jumps_do_not_tune_the_step_size",),
    ),
    Mutant(
        "the walk keeps its old energy after a move",
        "samplers/random_walk.py",
        "torch.where(is_accepted, energy, state.potential_energy)",
        "state.potential_energy",
        ("tests/samplers/test_base.py",),
    ),
    Mutant(
        "the step size of the walk moves on after warmup",
        "samplers/random_walk.py",
        "if is_warmup and self.adapt_step_size:",
        "if self.adapt_step_size:",
        ("tests/samplers/test_base.py",),
    ),
    Mutant(
        "Gibbs hands every block the position from before the sweep",
        "samplers/gibbs.py",
        "generators, position, adaptation[block.name], is_warmup",
        "generators, state.position, adaptation[block.name], is_warmup",
        (EXACT, "tests/samplers/test_gibbs.py"),
    ),
    Mutant(
        "dual averaging pushes the wrong way",
        "samplers/adaptation.py",
        "self.anchor - count.sqrt() / _GAMMA * error",
        "self.anchor + count.sqrt() / _GAMMA * error",
        ("tests/samplers/test_adaptation.py",),
    ),
    Mutant(
        "the noise of SGLD is off by sqrt 2",
        "samplers/sgld.py",
        "flat, temperature * step_size, inverse_mass)",
        "flat, 0.5 * temperature * step_size, inverse_mass)",
        (SGLD_BIAS,),
    ),
    Mutant(
        "the temperature of SGLD scales the noise and not its variance",
        "samplers/sgld.py",
        "temperature = self.temperature * schedules",
        "temperature = self.temperature**2 * schedules",
        ("tests/samplers/test_sgld.py::test_temperature_scales_the_noise",),
    ),
    Mutant(
        "the preconditioner of SGLD scales the drift alone",
        "samplers/sgld.py",
        "flat, temperature * step_size, inverse_mass)",
        "flat, temperature * step_size, None)",
        ("tests/samplers/test_sgld.py::test_fixed_preconditioner_scales_the_step",),
    ),
    Mutant(
        "RMSprop moves on after warmup",
        "samplers/sgld.py",
        "if squares is not None and is_warmup:",
        "if squares is not None:",
        ("tests/samplers/test_sgld.py::test_rmsprop_moves_in_warmup_only",),
    ),
    Mutant(
        "the control variate forgets the gradient of all data",
        "samplers/stochastic_gradients.py",
        "site: value - slope[site] + anchor.gradient[site] for",
        "site: value - slope[site] for",
        (ANCHORS,),
    ),
    Mutant(
        "the control variate has the wrong sign",
        "samplers/stochastic_gradients.py",
        "site: value - slope[site] + anchor.gradient[site] for",
        "site: value + slope[site] - anchor.gradient[site] for",
        (ANCHORS,),
    ),
    Mutant(
        "the anchor moves and its gradient does not",
        "samplers/stochastic_gradients.py",
        "positions.select(is_moved, gradient, anchor.gradient),",
        "anchor.gradient,",
        (ANCHORS,),
    ),
    Mutant(
        "a cycle explores where it should sample",
        "samplers/schedules.py",
        "self._phase(step) >= self.exploration or",
        "self._phase(step) < self.exploration or",
        ("tests/samplers/test_schedules.py",),
    ),
    Mutant(
        "ULA's noise is off by sqrt 2",
        "samplers/ula.py",
        "candidate = langevin.step(",
        "state = state._replace(position={s: v + (0.1**0.5) * positions.randn_like(generators,"
        " state.position)[s] for s, v in state.position.items()})\n"
        "        candidate = langevin.step(",
        ("tests/samplers/test_ula.py::test_it_samples_the_normal_that_is_documented",),
    ),
    Mutant(
        "ULA keeps its old gradient after a move",
        "samplers/ula.py",
        "positions.select(is_moved, gradient, state.gradient),",
        "state.gradient,",
        ("tests/samplers/test_ula.py::test_it_samples_the_normal_that_is_documented",),
    ),
    Mutant(
        "swaps with the wrong sign",
        "samplers/tempering.py",
        "gain = log_likelihood[:, 1:] - log_likelihood[:, :-1]",
        "gain = log_likelihood[:, :-1] - log_likelihood[:, 1:]",
        (SWAPS,),
    ),
    Mutant(
        "swaps at the temperature of one of the two",
        "samplers/tempering.py",
        "(powers[:, :-1] - powers[:, 1:]) * gain",
        "powers[:, :-1] * gain",
        (SWAPS,),
    ),
    Mutant(
        "one coin for the swaps of all pairs",
        "samplers/tempering.py",
        "reshape(chains, count)[:, :-1].to(rates.device)",
        "reshape(chains, count)[:, :1].to(rates.device)",
        ("tests/samplers/test_tempering.py::test_every_pair_has_a_coin_of_its_own",),
    ),
    Mutant(
        "energies are not renewed after a swap",
        "samplers/tempering.py",
        "energy.gather(1, order)[:, 0],",
        "energy[:, 0],",
        ("tests/samplers/test_tempering.py::test_energies_are_those_of_the_posterior",),
    ),
    Mutant(
        "the powers move on after warmup",
        "samplers/tempering.py",
        "if is_warmup and self.adapt_ladder:",
        "if self.adapt_ladder:",
        ("tests/samplers/test_tempering.py",),
    ),
    Mutant(
        "the prior is tempered along with the likelihood",
        "samplers/tempered_target.py",
        "if self.power is not None and _is_likelihood(msg):",
        "if self.power is not None:",
        ("tests/samplers/test_tempered_target.py",),
    ),
    Mutant(
        "the likelihood keeps the Jacobian of the coordinates",
        "samplers/tempered_target.py",
        "return -energy - positions.total(terms)",
        "return -energy",
        ("tests/samplers/test_tempered_target.py",),
    ),
    Mutant(
        "blocks are accepted without the density of the way back",
        "samplers/block_mala.py",
        "(backwards - forwards).flatten()",
        "(0.0 * forwards).flatten()",
        (BLOCKS + "test_a_chain_of_normals_keeps_its_distribution",),
    ),
    Mutant(
        "blocks keep the gradient from before the move",
        "samplers/block_mala.py",
        "self._where(is_accepted, there.gradient, energies.gradient),",
        "energies.gradient,",
        (BLOCKS + "test_what_is_put_together_is_what_a_fresh_evaluation_gives",),
    ),
    Mutant(
        "coordinates may leave their block",
        "samplers/block_mala.py",
        "return self._sums(lost) == 0.0",
        "return self._sums(lost) >= 0.0",
        (BLOCKS + "test_candidates_that_leave_their_block_are_never_evaluated",),
    ),
    Mutant(
        "one coin for all blocks",
        "samplers/block_mala.py",
        "torch.stack([torch.rand(size, generator=g, dtype=torch.float64) for g in generators])",
        "torch.stack([torch.rand(1, generator=g, dtype=torch.float64).expand(size)"
        " for g in generators])",
        (BLOCKS + "test_every_block_has_a_coin_of_its_own",),
    ),
    Mutant(
        "SGD adds no noise",
        "samplers/sgd.py",
        "if self.noise_scale > 0.0:",
        "if self.noise_scale < 0.0:",
        ("tests/samplers/test_sgd.py",),
    ),
    Mutant(
        "Pyro's tuning moves on after warmup",
        "samplers/hamiltonian.py",
        "if not is_warmup:",
        "if False:",
        (HAMILTONIAN + "test_a_warmup_that_ends_early_ends_the_adaptation",),
    ),
    Mutant(
        "Pyro's kernels remember where the chain was before it was moved",
        "samplers/hamiltonian.py",
        "kernel.clear_cache()  # the chain was put elsewhere",
        "pass",
        (HAMILTONIAN + "test_chains_that_were_put_elsewhere_go_on_from_there",),
    ),
    Mutant(
        "Pyro's kernels draw the same random numbers in every step",
        "samplers/hamiltonian.py",
        "generator.set_state(torch.get_rng_state())",
        "pass",
        (HAMILTONIAN + "test_draws_are_those_of_pyro_alone",),
    ),
    Mutant(
        "Hamiltonian moves inside of Gibbs see the first conditional for ever",
        "samplers/hamiltonian.py",
        "if kernel.potential_fn.target is not target:",
        "if kernel.potential_fn is None:",
        (
            "tests/samplers/test_hamiltonian.py::"
            "test_inside_of_gibbs_draws_and_energies_are_those_of_single_chains",
        ),
    ),
    Mutant(
        "the draws under Pyro take what a cyclical schedule leaves out",
        "samplers/pyro_kernels.py",
        "or may_keep(self.kernel, self._state)",
        "or True",
        (
            "tests/samplers/test_pyro_kernels.py::"
            "test_states_that_a_cyclical_schedule_leaves_out_are_no_draws",
        ),
    ),
    Mutant(
        "Gibbs keeps what the schedule of one of its kernels leaves out",
        "samplers/gibbs.py",
        "return tuning is None or schedules.may_keep",
        "return tuning is not None or schedules.may_keep",
        (
            "tests/samplers/test_pyro_kernels.py::"
            "test_states_that_a_cyclical_schedule_leaves_out_are_no_draws",
        ),
    ),
]
