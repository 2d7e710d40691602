"""Training: it starts alike on both sides, learns, resumes exactly, is shared by processes, and fails without loss."""

import csv
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sab3r_ros.lab.synthetic.rooms import HELD_OUT_SEEDS
from sab3r_ros.lab.training import trainer
from sab3r_ros.lab.training.coarse_heads import use_coarse_heads
from sab3r_ros.lab.training.datasets import HouseholdRooms
from sab3r_ros.lab.training.distill import (
    LabelTeacher,
    network_from_training_checkpoint,
    symmetric_initialisation,
    train_distill,
)
from sab3r_ros.lab.training.objective import ObjectiveConfig
from sab3r_ros.lab.training.pretrain import SingleViews, label_weights, pretrain_encoder
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.trainer import RunConfig, network_state, start_from
from sab3r_ros.lab.training.view_cache import ViewCache, render_cache
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig
from sab3r_ros.models.weights import load_checkpoint

SMALL = Sab3rConfig(
    enc_dim=24, enc_depth=1, enc_heads=1, dec_dim=24, dec_depth=4, dec_heads=1, image_size=64, dpt_dim=8,
    dpt_last_dim=8, dpt_layer_dims=(8, 8, 8, 8), desc_dim=8, desc_hidden_factor=1.0, clip_head="dpt", clip_dim=48,
)  # fmt: skip
TEXT = f"local-dir:{ASSETS / 'sab3r_tiny' / 'text'}"
ROOMS = [HouseholdRooms(50, size=(64, 48))]

ENCODER_NAMES = ("patch_embed.", "enc_blocks.", "enc_norm.")


def run_config(steps, **changes):
    return RunConfig(**({"steps": steps, "batch": 1, "lr": 1e-3, "warmup": 2, "workers": 0, "log_every": 1} | changes))


def train(out, steps, start=None, coarse=False, sources=ROOMS, **changes):
    return train_distill(out, SMALL, sources, run_config(steps, **changes), text_model=TEXT, start=start, coarse=coarse)


def losses(folder, term="loss"):
    rows = {}
    for file in sorted(folder.glob("log/version_*/metrics.csv")):
        rows |= {int(r["step"]): float(r[term]) for r in csv.DictReader(file.open()) if r.get(term)}
    return rows


def test_matching_pixels_start_with_matching_descriptors():
    torch.manual_seed(0)
    network = Sab3r(SMALL).eval()
    symmetric_initialisation(network)
    image = torch.rand(1, 3, 48, 64) * 2 - 1
    with torch.no_grad():
        one, two = network(image, image)
    assert torch.allclose(one.desc, two.desc, atol=1e-5)
    patch = one.desc[0, :16, :16].flatten(0, 1)
    assert torch.allclose(patch, patch[:1].expand_as(patch), atol=1e-5)
    assert not torch.allclose(one.desc[0, 0, 0], one.desc[0, 20, 40], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulate", "muon"), [(1, False), (2, False), (1, True)])
def test_a_resumed_run_reaches_bit_equal_weights(tmp_path, accumulate, muon):
    """The same four steps in one go and with a stop in the middle."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    options = {"batch": 2, "accumulate": accumulate, "muon": muon}
    train(tmp_path / "whole", 4, **options)
    train(tmp_path / "parts", 4, stop_at=2, **options)
    assert sorted(losses(tmp_path / "parts")) == [0, 1]
    train(tmp_path / "parts", 4, **options)
    whole, parts = losses(tmp_path / "whole"), losses(tmp_path / "parts")
    assert whole == parts
    assert sorted(whole) == [0, 1, 2, 3]
    nets = [
        network_from_training_checkpoint(tmp_path / n / "last.ckpt", SMALL).state_dict() for n in ("whole", "parts")
    ]
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])
    torch.use_deterministic_algorithms(False)


TWO_PROCESSES = """
    from pathlib import Path
    import sys
    sys.path.insert(0, {tests!r})
    from training.test_distill import train
    train(Path(sys.argv[1]), 3, batch=4, lr=3e-4)
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path):
    """Gradients are averaged over equal shares; losses agree to 1 % because matches are averaged within a process."""
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(TWO_PROCESSES.format(tests=str(Path(__file__).resolve().parents[1]))))
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script, tmp_path / "two"],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    train(tmp_path / "one", 3, batch=4, lr=3e-4)
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert sorted(one) == sorted(two) == [0, 1, 2]
    assert all(two[k] == pytest.approx(one[k], rel=0.01) for k in one)
    assert one[2] != one[0]


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a batch of 3 cannot be shared"):
        train(tmp_path, 1, batch=3, accumulate=2)


@pytest.mark.slow
def test_stages_hand_over_what_fits(tmp_path):
    """Encoder alone, then coarse heads, then DPT heads; each starts from the one before."""
    render_cache(tmp_path / "cache", 0, 2, 1)
    tiny = PRESETS["tiny"]
    first = pretrain_encoder(tmp_path / "encoder", tiny, [tmp_path / "cache"], run_config(2, batch=4))
    rooms = [HouseholdRooms(4)]
    second = train_distill(tmp_path / "coarse", tiny, rooms, run_config(1), text_model=TEXT, start=first, coarse=True)
    with pytest.raises(ValueError, match=r"do not fit: .* coarse heads") as refused:
        network_from_training_checkpoint(second, tiny)
    assert "\n" not in str(refused.value)
    network = Sab3r(tiny)
    untouched = start_from(network, second)
    assert untouched
    assert all(".dpt." in name or ".clip_head." in name for name in untouched)
    assert torch.equal(
        network.encoder.enc_blocks[0].attn.qkv.weight, network_state(second)["enc_blocks.0.attn.qkv.weight"]
    )
    third = train_distill(tmp_path / "full", tiny, rooms, run_config(1), text_model=TEXT, start=second)
    assert network_from_training_checkpoint(third, tiny).cfg == tiny


@pytest.mark.slow
def test_an_encoder_learns_on_beside_its_decoders_and_stays_fixed_when_asked_to(tmp_path):
    """Pre-training of a whole network's encoder touches nothing else, and a fixed encoder is not touched at all."""
    render_cache(tmp_path / "cache", 0, 2, 1)
    whole = load_checkpoint("sab3r_tiny").network
    before = {k: v.clone() for k, v in whole.state_dict().items()}

    def changed(path):
        after = network_state(path)
        return {k for k in before if not torch.equal(before[k], after[k])}

    def pretrain(steps):
        run = run_config(3, batch=4, warmup=2, stop_at=steps)
        return pretrain_encoder(tmp_path / "further", whole.cfg, [tmp_path / "cache"], run, whole)

    assert not changed(pretrain(2))  # until then the new linear head learns alone
    further = changed(pretrain(3))
    assert further
    assert all(name.startswith(ENCODER_NAMES) for name in further)
    assert losses(tmp_path / "further", "loss/anchor") == {2: 0}
    network = load_checkpoint("sab3r_tiny").network
    fixed = train_distill(
        tmp_path / "fixed", network.cfg, [HouseholdRooms(4)], run_config(1), text_model=TEXT, start=network, part=TrainableScope.decoders
    )  # fmt: skip
    assert changed(fixed)
    assert not any(name.startswith(ENCODER_NAMES) for name in changed(fixed))
    network = load_checkpoint("sab3r_tiny").network
    features = train_distill(
        tmp_path / "features", network.cfg, [HouseholdRooms(4)], run_config(1), text_model=TEXT, start=network, part=TrainableScope.features
    )  # fmt: skip
    assert changed(features)
    assert all(".clip_head." in name for name in changed(features))
    assert losses(tmp_path / "features", "loss/clip")


def test_feature_heads_alone_need_full_feature_heads(tmp_path):
    for network, coarse in ((SMALL, True), (replace(SMALL, clip_head=None), False)):
        with pytest.raises(ValueError, match="feature heads alone"):
            train_distill(
                tmp_path, network, [HouseholdRooms(4)], run_config(1), coarse=coarse, part=TrainableScope.features
            )


def test_single_views_carry_true_points(tmp_path):
    render_cache(tmp_path / "cache", 0, 2, 1)
    cache = ViewCache(tmp_path / "cache")
    sample = SingleViews([cache])[3]
    assert sample["image"].shape == (3, 96, 128)
    assert sample["points"].shape == (24, 32, 3)
    rays = sample["points"] / sample["points"][..., 2:].clamp(min=1e-6)
    across = rays[0, :, 0][sample["valid"][0]]
    assert (across.diff() > 0).all()  # also in mirrored views
    assert label_weights(cache).min() > 0


def test_coarse_heads_predict_a_quarter_of_the_resolution():
    network = Sab3r(SMALL)
    use_coarse_heads(network)
    one, two = network(torch.zeros(1, 3, 48, 64), torch.zeros(1, 3, 48, 64))
    assert one.points.shape == two.points.shape == (1, 12, 16, 3)
    assert one.clip.shape == (1, 12, 16, 48)
    assert one.desc.shape[1:3] == (48, 64)


def test_rare_labels_weigh_more_and_nothing_else_counts():
    teacher = LabelTeacher.__new__(LabelTeacher)
    concept = torch.zeros(1, 4, 4, dtype=torch.long)
    concept[0, 0, 0] = 330
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, 3] = False
    weight = LabelTeacher.weight(teacher, concept, valid)
    assert weight[0, 0, 0] > 3 * weight[0, 1, 1] > 0
    assert (weight[0, 3] == 0).all()
    assert weight.sum().item() == pytest.approx(12)


def test_seeds_never_reach_the_held_out_rooms():
    with pytest.raises(ValueError, match="held-out"):
        HouseholdRooms(10, first_seed=HELD_OUT_SEEDS.start - 5)


def test_not_a_number_stops_with_the_last_checkpoint_intact(tmp_path):
    train(tmp_path, 1)
    before = (tmp_path / "last.ckpt").read_bytes()
    with pytest.raises(FloatingPointError, match="the last checkpoint is intact"):
        train(tmp_path, 4, lr=float("inf"))
    assert (tmp_path / "last.ckpt").read_bytes() == before


def test_a_full_disk_leaves_the_last_checkpoint_intact(tmp_path, monkeypatch):
    train(tmp_path, 2, stop_at=1)
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(trainer, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer.L.Trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="the last checkpoint is intact"):
        train(tmp_path, 2)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_checkpoints_of_something_else_are_refused(tmp_path):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="not a checkpoint of a training run"):
        network_state(tmp_path / "text.ckpt")
    torch.save({"state_dict": {"network.enc_norm.weight": torch.zeros(5)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="does not fit"):
        start_from(Sab3r(SMALL), tmp_path / "other.ckpt")


def test_a_picture_teacher_serves_unlabelled_pictures(tmp_path):
    class Constant(torch.nn.Module):
        def forward(self, images):
            return torch.ones(len(images), *images.shape[-2:], 48)

    class Unlabelled(HouseholdRooms):
        def group(self, index):
            views = super().group(index)
            for view in views:
                view.concept = None
            return views

    rooms = [Unlabelled(4, size=(64, 48))]
    objective = ObjectiveConfig(clip_weight=1.0)
    with_teacher = train_distill(tmp_path / "with", SMALL, rooms, run_config(1), objective, clip_teacher=Constant())
    assert with_teacher.exists()
    rows = list(csv.DictReader(next((tmp_path / "with").glob("log/version_*/metrics.csv")).open()))
    assert float(rows[0]["loss/clip"]) > 0.5
    train_distill(tmp_path / "without", SMALL, rooms, run_config(1), objective)
    rows = list(csv.DictReader(next((tmp_path / "without").glob("log/version_*/metrics.csv")).open()))
    assert "loss/clip" not in rows[0]


def test_muon_steps_the_matrices_of_transformer_blocks_and_nothing_else(tmp_path):
    """Every direction of such a matrix moves alike: the first step has a nearly flat spectrum. Adam's has not."""
    start = Sab3r(SMALL)
    before = {k: v.clone() for k, v in start.state_dict().items()}

    def step(muon, name):
        network = Sab3r(SMALL)
        network.load_state_dict(before)
        run = run_config(1, warmup=1, weight_decay=0.0, muon=muon)
        after = network_state(train_distill(tmp_path / str(muon), SMALL, ROOMS, run, text_model=TEXT, start=network))
        return after[name] - before[name]

    def flatness(change):
        """Mean over largest singular value."""
        spectrum = torch.linalg.svdvals(change)
        return (spectrum.mean() / spectrum.max()).item()

    inner, outer = "enc_blocks.0.mlp.fc1.weight", "decoder_embed.weight"
    assert flatness(step(True, inner)) > 0.8
    assert flatness(step(False, inner)) < 0.5
    assert flatness(step(True, outer)) == pytest.approx(flatness(step(False, outer)), rel=0.01)


def test_bfloat16_on_a_cpu_gives_nearly_the_losses_of_float32(tmp_path):
    full = losses(train(tmp_path / "full", 3).parent)
    mixed = losses(train(tmp_path / "mixed", 3, bfloat16=True).parent)
    assert full.keys() == mixed.keys()
    assert len(full) == 3
    assert full != mixed
    assert [mixed[k] for k in full] == pytest.approx(list(full.values()), rel=0.02)
