"""The options that ship with the package, as Hydra composes them; see ``bayes_splat.config``."""
