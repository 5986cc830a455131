"""pixelSplat's encoder (Charatan et al., CVPR 2024), part by part, and the proposal made of it.

Inside this room the official conventions rule, because the weights have them baked in: intrinsics
are normalised by the image size, "depth" is the length of a ray, quaternions are xyzw. They end at
``border`` and ``official_harmonics``; nothing outside this room sees them.
"""
