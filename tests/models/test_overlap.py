import pytest
import torch

from bayes_splat.errors import ModelError
from bayes_splat.models.overlap import require_overlap


def test_the_view_that_stands_alone_is_named():
    seen, unseen = torch.ones(4, 5, dtype=torch.bool), torch.zeros(4, 5, dtype=torch.bool)
    require_overlap([seen, seen], ("a", "b"))
    with pytest.raises(ModelError, match="context view 'b' shares only 0% of its rays"):
        require_overlap([seen, unseen], ("a", "b"))


def test_the_share_that_is_enough():
    some = torch.arange(20).reshape(4, 5) < 2
    require_overlap([some], ("a",), least=0.1)
    with pytest.raises(ModelError, match=r"only 10% .*at least 11% needed"):
        require_overlap([some], ("a",), least=0.11)
