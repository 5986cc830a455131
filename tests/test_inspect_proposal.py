import numpy as np
import pytest
import torch

from bayes_splat import geometry, inspect_proposal
from bayes_splat.errors import ConfigError
from bayes_splat.inspect_config import InspectConfig, compose_inspect
from bayes_splat.models import plane_sweep
from bayes_splat.models.encoder import propose as learned
from bayes_splat.models.encoder.settings import EncoderConfig
from bayes_splat.models.proposal import DepthProposal
from bayes_splat.scenes.synthetic import demo_scene
from bayes_splat.types import Views
from tests import helpers_encoder


@pytest.fixture(scope="module")
def views() -> Views:
    return demo_scene(40, num_targets=0)


@pytest.fixture(scope="module")
def proposal(views) -> DepthProposal:
    return plane_sweep.propose(views)


@pytest.mark.parametrize("name", ["encoder", "plane_sweep"])
def test_proposals_are_drawn_from_the_command_line_options(tmp_path, name):
    where = [f"out={tmp_path}", "columns=[3]", "rows=[5]"]
    plan = compose_inspect([f"proposal={name}", "resolution=24", *where])
    found = inspect_proposal.inspect(plan)
    assert [path.name for path in found.files] == ["overview.png", "pixel_1.png"]
    assert all(path.stat().st_size > 5000 for path in found.files)
    assert "column 3, row 5 of context_0: depth" in found.text
    assert "in truth" in found.text


def test_encoder_is_drawn_with_its_attention(tmp_path):
    path = helpers_encoder.write_checkpoint(tmp_path / "a.ckpt")
    options = ["proposal=encoder", f"proposal.checkpoint={path}", "resolution=24"]
    found = inspect_proposal.inspect(compose_inspect([*options, f"out={tmp_path}"]))
    assert len(found.files) == 4


def test_chosen_pixels_go_from_sure_to_unsure(proposal, views):
    height, width = views.cameras.image_shape
    phi = proposal.probabilities.reshape(2, height, width, -1)[1]
    bits = -(phi * phi.log2()).sum(-1)
    chosen = inspect_proposal.choose_pixels(proposal, views, InspectConfig(view=1))
    found = [float(bits[row, column]) for column, row in chosen]
    assert found == sorted(found)
    assert found[0] < float(bits.quantile(0.1)) < float(bits.quantile(0.9)) < found[2]


def test_pixel_is_told_as_the_proposal_has_it(proposal, views):
    height, width = views.cameras.image_shape
    story = inspect_proposal.tell_pixel(proposal, views, 1, 7, 11)
    index = (height + 11) * width + 7
    assert story.probabilities == pytest.approx(proposal.probabilities[index].double().numpy())
    assert story.edges[[0, -1]] == pytest.approx([float(views.cameras.near[1]), 8.0], rel=1e-5)
    assert story.truth is not None
    depth = float(views.depths[1, 11, 7])
    assert story.truth[1] == pytest.approx(depth)
    assert int(story.truth[0]) == int(proposal.bucket(torch.full((len(proposal),), depth))[index])


def test_bucket_centres_lie_on_the_epipolar_line(proposal, views):
    story = inspect_proposal.tell_pixel(proposal, views, 0, 20, 15)
    [look] = story.looks
    assert "context_1: bucket probability" in look.title
    along = look.points - look.points[0]
    across = along[:, 0] * along[-1, 1] - along[:, 1] * along[-1, 0]
    assert np.abs(across).max() / np.linalg.norm(along[-1]) < 1e-3
    index = 15 * views.cameras.image_shape[1] + 20
    truth = proposal.origins[index] + views.depths[0, 15, 20] * proposal.directions[index]
    [expected] = geometry.project_points(truth[None], views.cameras[1])[0][0].numpy()
    nearest = np.abs(look.points - expected).sum(-1).argmin()
    edges = story.edges
    depth = float(views.depths[0, 15, 20])
    all_seen = len(look.points) == proposal.num_buckets
    assert not all_seen or abs(int(np.searchsorted(edges, depth)) - 1 - nearest) <= 1


def test_attention_is_drawn_where_the_rays_of_the_cell_look(views):
    encoder = helpers_encoder.encoder()
    config = EncoderConfig()
    encoded = learned.encode(views, encoder, config, keep_attention=True)
    proposal = learned.to_proposal(encoded, views, encoder, config)
    story = inspect_proposal.tell_pixel(proposal, views, 0, 21, 13, encoded)
    assert ["layer" in look.title for look in story.looks] == [True, True]
    # Points of a ray through the centre of the pixel's 4 x 4 cell: near the pixel's own line.
    plain = inspect_proposal.tell_pixel(proposal, views, 0, 21, 13).looks[0]
    along = plain.points[-1] - plain.points[0]
    offset = story.looks[0].points - plain.points[0]
    across = (offset[:, 0] * along[1] - offset[:, 1] * along[0]) / np.linalg.norm(along)
    assert np.abs(across).max() < 3.0, "pixels"
    total = sum(look.weights.sum() for look in story.looks[:1])
    assert 0.5 < total <= 1 + 1e-5


def test_an_encoder_without_epipolar_lines_shows_its_buckets(views):
    encoder = helpers_encoder.encoder(helpers_encoder.VARIANTS["no epipolar transformer"])
    encoded = learned.encode(views, encoder, keep_attention=True)
    proposal = learned.to_proposal(encoded, views, encoder, EncoderConfig())
    [look] = inspect_proposal.tell_pixel(proposal, views, 0, 21, 13, encoded).looks
    assert "bucket probability" in look.title


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"view": 2}, "view is 2 but there are context views 0 to 1"),
        (
            {"columns": [40], "rows": [0]},
            r"columns is \[40\] but the pictures have columns 0 to 39",
        ),
        ({"columns": [0], "rows": [99]}, r"rows is \[99\] but"),
    ],
)
def test_places_that_are_not_there_are_refused(proposal, views, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        inspect_proposal.choose_pixels(proposal, views, InspectConfig(**options))
