"""Joint training: it learns, goes on where it stopped, takes in views that are still being rendered, and refuses nonsense."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sab3r_ros.lab.training import array_folder, joint_objective
from sab3r_ros.lab.training.joint import averaged_network, train_joint
from sab3r_ros.lab.training.joint_objective import Draws, FeatureTargets, JointConfig, Objective
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.text_tower import concept_codes
from sab3r_ros.lab.training.view_bank import ViewBank
from sab3r_ros.lab.training.view_cache import render_cache
from sab3r_ros.models.sab3r import PRESETS, Sab3r
from sab3r_ros.models.safe_load import safe_load

SMALL = replace(PRESETS["small"], enc_dim=32, enc_depth=1, enc_heads=1, dec_dim=32, dec_depth=2, dec_heads=1, dpt_dim=8)
RUN = JointConfig(steps=3, groups=1, views=2, pairs=1, warmup=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("views") / "cache"
    render_cache(out, 40, 2, 1, size=(128, 96), views=3)
    return out


@pytest.fixture
def bank(folder):
    return ViewBank([folder], "cpu")


@pytest.fixture(scope="module")
def targets():
    codes = concept_codes(48)
    pairs = torch.nn.functional.normalize(codes.labels[:, None] + 0.5 * codes.colours, dim=-1).flatten(0, 1)
    return FeatureTargets(codes.labels, codes.colours, pairs)


def network(seed=0):
    torch.manual_seed(seed)
    return Sab3r(SMALL)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def unprojected(batch, numbers):
    rows, columns = (torch.arange(n) for n in batch.depth.shape[-2:])
    return joint_objective._unprojected(batch.depth[numbers], batch.intrinsics[numbers], rows, columns)


def test_the_true_geometry_loses_nothing_but_its_confidence(bank, targets, monkeypatch):
    """Fed with what is there, the regression is at its least, and every visible pixel finds its partner."""
    batch = bank.batch(1, 2, 1, draws())
    net = network()
    objective = Objective(net, net.encoder.trunk, targets, bank.label_weights(), RUN)
    truth = unprojected(batch, batch.first)
    motion = torch.linalg.inv(batch.cam2world[batch.first]) @ batch.cam2world[batch.second]
    other = unprojected(batch, batch.second)
    other = other @ motion[0, :3, :3].T + motion[0, :3, 3]
    monkeypatch.setattr(joint_objective, "enlarged", lambda raw: raw.permute(0, 2, 3, 1))
    monkeypatch.setattr(joint_objective, "exp_vector", lambda raw: raw)
    raw = [
        torch.cat([p.permute(0, 3, 1, 2), torch.zeros_like(p[..., :1]).permute(0, 3, 1, 2)], 1) for p in (truth, other)
    ]
    drawn = Draws.of(batch, draws())
    least = -2 * 0.2 * np.log(2)  # the confidence is 1 + exp(0)
    assert objective._points(batch, raw, drawn).item() == pytest.approx(least, abs=1e-4)
    raw[0] = raw[0] + 0.1
    assert objective._points(batch, raw, drawn).item() > least + 0.05


def test_every_pixel_has_its_turn(bank):
    """Geometry looks at one pixel of every 2 x 2, labels at one of every 6 x 6 (3 x 3 at half size), all of them in the end."""
    batch = bank.batch(1, 2, 1, draws())
    height, width = batch.depth.shape[-2:]
    many = [Draws.of(batch, draws(seed)) for seed in range(200)]
    for name, size, step in (
        ("rows", height, 2), ("columns", width, 2), ("label_rows", height // 2, 3), ("label_columns", width // 2, 3),
    ):  # fmt: skip
        assert {len(getattr(d, name)) for d in many} == {size // step}
        assert torch.cat([getattr(d, name) for d in many]).unique().tolist() == list(range(size // step * step))
    places = torch.cat([d.places for d in many]).flatten(0, 1)
    assert (places == places.round()).all()
    assert (places.amin(0).tolist(), places.amax(0).tolist()) == ([0, 0], [width - 1, height - 1])


def test_the_matching_loss_sees_partners_alone(bank, targets):
    """Descriptors that name the true point lose little; where nothing is seen twice, nothing is lost."""
    batch = bank.batch(2, 2, 1, draws(3))
    net = network()
    objective = Objective(net, net.encoder.trunk, targets, bank.label_weights(), RUN)
    drawn = Draws.of(batch, draws())
    raw = [torch.randn(2, 5 + 24, *(n // 2 for n in batch.depth.shape[-2:]), generator=draws(k)) for k in (1, 2)]
    some = objective._matching(batch, raw, drawn)
    assert 0 < some < 100
    assert objective._matching(replace(batch, depth=torch.zeros_like(batch.depth)), raw, drawn) == 0


def test_mirrored_and_upright_batches_keep_their_geometry(bank):
    """Points of one view, moved into the other by the poses, land on its surfaces; in every kind of batch."""
    from sab3r_ros.lab.training.joint_objective import _at

    widths = set()
    for seed in range(12):
        batch = bank.batch(1, 2, 1, draws(seed))
        widths.add(batch.images.shape[-1])
        assert batch.images.abs().max() <= 1
        i, j = batch.first, batch.second
        points = unprojected(batch, i)[:, ::4, ::4].flatten(1, 2)
        motion = torch.linalg.inv(batch.cam2world[j]) @ batch.cam2world[i]
        there = points @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
        pixel = there / there[..., 2:].clamp(min=0.05) @ batch.intrinsics[j].mT
        size = torch.tensor([batch.images.shape[-1], batch.images.shape[-2]])
        inside = ((pixel[..., :2] > 0) & (pixel[..., :2] < size - 1)).all(-1) & (there[..., 2] > 0.1)
        behind = _at(batch.depth[j], pixel[..., :2].round().clamp(min=0)) - there[..., 2]
        if inside.sum() > 50:
            assert (behind[inside].abs() < 0.05).float().mean() > 0.3
            assert (behind[inside] < 0.3).float().mean() > 0.3
    assert widths == {128}  # narrower than 192 pixels: never cut


def test_training_learns_resumes_exactly_and_averages(bank, targets, tmp_path):
    whole = train_joint(tmp_path / "whole", network().requires_grad_(False), bank, targets, RUN)  # as loaded
    train_joint(tmp_path / "parts", network(), bank, targets, RUN, stop_at=2)
    said = []
    parts = train_joint(tmp_path / "parts", network(1), bank, targets, RUN, report=said.append)
    assert said[0] == "goes on after step 2"
    one, two = safe_load(whole), safe_load(parts)
    assert one["step"] == two["step"] == 3
    for name in ("network", "average"):
        assert all(torch.equal(one[name][k], two[name][k]) for k in one[name])
    start = network().state_dict()
    changed = {k for k in start if not torch.equal(start[k], one["network"][k])}
    assert not any(k.startswith("encoder.trunk.stages.0") for k in changed)
    assert any(k.startswith("encoder.trunk.stages.5") for k in changed)
    assert any(k.startswith("dec_blocks2") for k in changed)
    assert averaged_network(whole, SMALL).cfg == SMALL


def test_the_feature_head_alone(bank, targets, tmp_path):
    last = train_joint(tmp_path, network(), bank, targets, replace(RUN, part=TrainableScope.features))
    start, after = network().state_dict(), safe_load(last)["network"]
    changed = {k for k in start if not torch.equal(start[k], after[k])}
    assert changed
    assert all(".clip_head." in k for k in changed)


def test_a_growing_folder_is_taken_in(folder, tmp_path):
    import shutil

    growing = tmp_path / "growing"
    shutil.copytree(folder, growing)
    np.save(growing / "done.npy", np.array([True, False]))
    bank = ViewBank([growing], "cpu")
    assert len(bank) == 1
    assert bank.refresh() == 1
    np.save(growing / "done.npy", np.array([True, True]))
    assert bank.refresh() == 2
    arrays, done = array_folder.begun(growing, "")
    assert done.all()
    assert np.array_equal(bank.tensors["rgb"][1].numpy(), arrays["rgb"][1])


def test_what_cannot_be_trained_says_so(folder, targets, tmp_path):
    with pytest.raises(ValueError, match="holds no samples; make them with `sab3r train render"):
        ViewBank([tmp_path], "cpu")
    bank = ViewBank([folder], "cpu")
    broken = network()
    with torch.no_grad():
        broken.dec_norm.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="diverged up to step 0"):
        train_joint(tmp_path / "run", broken, bank, targets, RUN)
    assert not (tmp_path / "run" / "last.pt").exists()
