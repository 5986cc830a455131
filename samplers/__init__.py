"""Markov chain Monte Carlo kernels over dictionaries of tensors.

This room knows positions, targets and chains; it has never heard of Gaussians, cameras or pixels.
"""
