"""``bayes-splat evaluate``: methods and baselines side by side, every metric from one record."""
