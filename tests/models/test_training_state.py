import pytest
import torch
from torch import nn

from bayes_splat.errors import ModelError
from bayes_splat.models.training_state import NAME, TrainingState, load_state, save_state


def parts(width: int = 2) -> tuple[nn.Linear, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(width, 1)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def test_average_follows_and_early_weights_are_forgotten_fast():
    model, _ = parts()
    state = load_state_of_nothing(model)
    with torch.no_grad():
        model.weight.fill_(1.0)
    for _ in range(20):
        state = state.advanced(model, decay=0.999)
    assert state.step == 20
    assert state.average["weight"].numpy() == pytest.approx(1.0, abs=0.01)
    assert (state.averaged(model).weight == state.average["weight"]).all()
    assert not state.averaged(model).weight.requires_grad


def load_state_of_nothing(model: nn.Module) -> TrainingState:
    return TrainingState(0, {k: torch.zeros_like(v) for k, v in model.state_dict().items()})


def test_everything_comes_back(tmp_path):
    model, optimizer = parts()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_state(tmp_path, model, optimizer, TrainingState(7, dict(model.state_dict())))
    other, fresh = parts()
    state = load_state(tmp_path, other, fresh)
    assert state.step == 7
    assert torch.equal(other.weight, model.weight)
    assert str(fresh.state_dict()) == str(optimizer.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_without_a_checkpoint_all_begins(tmp_path):
    model, optimizer = parts()
    state = load_state(tmp_path, model, optimizer)
    assert state.step == 0
    assert torch.equal(state.average["weight"], model.weight)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04"])
def test_broken_checkpoints_are_named(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ModelError, match=r"training\.pt is no checkpoint of this network"):
        load_state(tmp_path, *parts())


def test_checkpoints_of_other_networks_are_named(tmp_path):
    model, optimizer = parts()
    save_state(tmp_path, model, optimizer, TrainingState(1, dict(model.state_dict())))
    with pytest.raises(ModelError, match="move it away to begin anew"):
        load_state(tmp_path, *parts(width=3))
