"""Training: it starts alike on both sides, learns, resumes exactly, is shared by processes, and fails without loss."""

import csv
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sab3r_ros.lab.training.datasets import HouseholdRooms
from sab3r_ros.lab.training.distill import (
    network_from_training_checkpoint,
    symmetric_initialisation,
    train_distill,
)
from sab3r_ros.lab.training.scope import TrainableScope
from sab3r_ros.lab.training.trainer import RunConfig, network_state, start_from
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.sab3r import PRESETS, Sab3r, Sab3rConfig

SMALL = Sab3rConfig(
    enc_dim=24, enc_depth=1, enc_heads=1, dec_dim=24, dec_depth=4, dec_heads=1, image_size=64, dpt_dim=8,
    dpt_last_dim=8, dpt_layer_dims=(8, 8, 8, 8), desc_dim=8, desc_hidden_factor=1.0, clip_head="dpt", clip_dim=48,
)  # fmt: skip
TEXT = f"local-dir:{ASSETS / 'sab3r_small' / 'text'}"
ROOMS = [HouseholdRooms(50, size=(64, 48))]

ENCODER_NAMES = ("patch_embed.", "enc_blocks.", "enc_norm.")


def run_config(steps, **changes):
    return RunConfig(**({"steps": steps, "batch": 1, "lr": 1e-3, "warmup": 2, "workers": 0, "log_every": 1} | changes))


def train(out, steps, start=None, sources=ROOMS, **changes):
    return train_distill(out, SMALL, sources, run_config(steps, **changes), text_model=TEXT, start=start)


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


def test_a_run_hands_over_to_the_next_one(tmp_path):
    first = train(tmp_path / "first", 1)
    network = Sab3r(SMALL)
    assert not start_from(network, first)
    assert torch.equal(network.decoder_embed.weight, network_state(first)["decoder_embed.weight"])
    second = train(tmp_path / "second", 1, start=first)
    assert network_from_training_checkpoint(second, SMALL).cfg == SMALL
    with pytest.raises(ValueError, match="do not fit") as refused:
        network_from_training_checkpoint(second, replace(SMALL, desc_dim=12))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", [TrainableScope.decoders, TrainableScope.features])
def test_only_the_part_that_is_trained_changes(part, tmp_path):
    torch.manual_seed(0)
    network = Sab3r(SMALL)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    last = train_distill(tmp_path, SMALL, ROOMS, run_config(1), text_model=TEXT, start=network, part=part)
    after = network_state(last)
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed
    if part is TrainableScope.decoders:
        assert not any(name.startswith(ENCODER_NAMES) for name in changed)
    else:
        assert all(".clip_head." in name for name in changed)
        assert losses(tmp_path, "loss/clip")


def test_feature_heads_alone_need_feature_heads(tmp_path):
    with pytest.raises(ValueError, match="feature heads alone"):
        train_distill(tmp_path, replace(SMALL, clip_head=None), ROOMS, run_config(1), part=TrainableScope.features)


def test_the_network_with_pyramid_heads_is_sent_to_its_own_command(tmp_path):
    with pytest.raises(ValueError, match="sab3r train joint"):
        train_distill(tmp_path, PRESETS["small"], ROOMS, run_config(1))
