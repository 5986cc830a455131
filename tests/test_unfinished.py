import pytest
import torch

from bayes_splat import unfinished
from bayes_splat.errors import OutputError
from bayes_splat.samplers.sampling import SITES, STATS
from bayes_splat.samplers.store import DiskStore


def test_draws_that_are_left_are_not_overwritten(tmp_path):
    unfinished.refuse_to_overwrite(tmp_path / "nowhere")
    with DiskStore(tmp_path / unfinished.DRAWS) as store:
        unfinished.refuse_to_overwrite(tmp_path)  # a run that was stopped in warmup
        with pytest.raises(OutputError, match="holds no unfinished draws"):
            unfinished.unfinished_draws(tmp_path)
        assert "less extreme" in unfinished.remedy(tmp_path)
        for _ in range(3):
            store.append(SITES, {"depth": torch.zeros(2)})
            store.append(STATS, {"lp": torch.zeros(2)})
    assert unfinished.unfinished_draws(tmp_path).num_draws == 3
    with pytest.raises(OutputError, match=f"holds 3 draws .* bayes-splat finish {tmp_path}"):
        unfinished.refuse_to_overwrite(tmp_path)
    assert f"bayes-splat finish {tmp_path} writes the results of the 3 draws" in unfinished.remedy(
        tmp_path
    )
