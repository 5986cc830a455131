"""What one step of training looks at, whatever data set it comes from."""

from typing import NamedTuple

from bayes_splat.types import Views


class Example(NamedTuple):
    """Photographs that an encoder is shown, and others of the same scene that it is to predict.

    Attributes:
        context: two or more views. Where ``depths`` are known, depth can be supervised.
        targets: views for the photometric loss; may have no photograph at all (``len`` 0).
    """

    context: Views
    targets: Views
