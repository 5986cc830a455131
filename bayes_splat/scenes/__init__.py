"""Photographs with cameras: read from disk (``loader``) or made by the package.

``synthetic`` makes the demo's still life, ``procedural`` as many random scenes as one likes.
"""
