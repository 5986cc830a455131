"""The shipped encoder: a small network that says how deep every pixel of two or more photos is.

Features of all photographs are compared on planes of constant disparity, one a bucket, and the
comparison is read by convolutions over pixels and buckets (as in MVSNet, Yao et al. 2018, and
MVSplat, Chen et al. 2024). Read first: ``network``.
"""
