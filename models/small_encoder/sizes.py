"""How wide the small encoder is."""

from typing import NamedTuple


class Sizes(NamedTuple):
    """Channels of every part; the weights' shapes follow from them.

    Attributes:
        num_buckets: between near and far, even in disparity; a multiple of 4.
        full, half, quarter: features of photographs at full, half and quarter resolution.
        match: how many of the half-resolution features are compared between views.
        groups: in which they are compared.
        volume, middle, coarse: of the volume at half, quarter and eighth resolution.
        head: of the last volume, in which blocks of two by two pixels are answered together.
    """

    num_buckets: int = 32
    full: int = 16
    half: int = 48
    quarter: int = 64
    match: int = 32
    groups: int = 8
    volume: int = 16
    middle: int = 32
    coarse: int = 64
    head: int = 32


TINY = Sizes(full=4, half=8, quarter=8, match=4, groups=2, volume=4, middle=4, coarse=8, head=4)
"""For tests."""

MULTIPLE = 8
"""Pictures are padded to multiples of so many pixels."""
