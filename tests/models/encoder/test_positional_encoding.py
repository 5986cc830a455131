import math

import pytest
import torch

from bayes_splat.models.encoder.positional_encoding import positional_encoding


def test_waves_are_sines_and_cosines_of_octaves_in_order():
    values = torch.tensor([[0.13, 0.71]], dtype=torch.float64)
    [waves] = positional_encoding(values, 3)
    expected = [
        wave(2 * math.pi * 2**octave * x)
        for x in (0.13, 0.71)
        for octave in range(3)
        for wave in (math.sin, math.cos)
    ]
    assert waves == pytest.approx(expected, abs=1e-12)


def test_lengths():
    assert positional_encoding(torch.rand(4, 5, 1), 10).shape == (4, 5, 20)
    assert positional_encoding(torch.rand(4, 5, 2), 10).shape == (4, 5, 40)
