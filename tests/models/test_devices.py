import pytest
import torch

from bayes_splat.errors import ConfigError
from bayes_splat.models import devices
from tests import helpers_scenes


def test_one_thread_for_a_while():
    with helpers_scenes.threads(2):
        with devices.one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.chosen("auto").type == devices.chosen("cpu").type == "cpu"
    with pytest.raises(ConfigError, match="no NVIDIA GPU"):
        devices.chosen("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.chosen("auto").type == devices.chosen("cuda").type == "cuda"
    assert devices.chosen("cpu").type == "cpu"
