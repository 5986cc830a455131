"""What is believed about splats: proposals, priors, likelihood, full conditionals.

This room knows Gaussians and photographs; it knows nothing of chains of draws or of kernels.
"""
