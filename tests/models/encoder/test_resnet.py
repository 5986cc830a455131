import pytest
import torch

from bayes_splat.models.encoder import resnet
from bayes_splat.models.encoder.architecture import ResNetSizes
from bayes_splat.models.encoder.resnet import Bottleneck, ResNet


@pytest.fixture
def small() -> ResNetSizes:
    return ResNetSizes(blocks=(1, 2, 1), planes=4)


def test_maps_have_the_sizes_of_a_network_without_pooling(small):
    maps = ResNet(small).eval()(torch.rand(2, 3, 32, 48))
    assert [tuple(found.shape) for found in maps] == [
        (2, 4, 16, 24),
        (2, 16, 16, 24),
        (2, 32, 8, 12),
        (2, 64, 4, 6),
    ]
    assert resnet.channels(small) == [found.shape[1] for found in maps]
    assert all((found >= 0).all() for found in maps)


def test_stride_sits_on_the_3x3_convolution_and_the_shortcut(small):
    block, second = ResNet(small).stages["2"].children()
    assert isinstance(block, Bottleneck)
    strides = [block.conv1.stride, block.conv2.stride, block.conv3.stride]
    assert strides == [(1, 1), (2, 2), (1, 1)]
    assert block.downsample is not None
    assert block.downsample.conv.stride == (2, 2)
    assert second.downsample is None


def test_a_block_adds_to_what_comes_in(small):
    block = Bottleneck(small, 16, 4, 1, has_shortcut=False).eval()
    torch.nn.init.zeros_(block.conv3.weight)
    x = torch.randn(1, 16, 5, 5)
    assert torch.equal(block(x), x.relu())


def test_full_size_has_the_official_parameters():
    model = ResNet(ResNetSizes())
    counts = {
        name: sum(p.numel() for p in stage.parameters()) for name, stage in model.stages.items()
    }
    assert counts == {"1": 215_808, "2": 1_219_584, "3": 7_098_368}


def test_pictures_are_normalised_alone_without_statistics():
    sizes = ResNetSizes(blocks=(1,), planes=4, is_normalised_by_batch=False)
    model = ResNet(sizes).requires_grad_(False)
    assert {name.rpartition(".")[2] for name in model.state_dict()} == {"weight"}
    pictures = torch.rand(2, 3, 16, 16)
    both, alone = model(pictures), model(pictures[1:])
    assert both[1][1:] == pytest.approx(alone[1], abs=1e-5)
    dimmed = model(0.5 * pictures)
    assert dimmed[0] == pytest.approx(both[0], abs=2e-3), "contrast does not matter"
