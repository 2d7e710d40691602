"""`sab3r train distill`."""

from dataclasses import replace
from pathlib import Path

from sab3r_ros.models.sab3r import PRESETS
from sab3r_ros.models.weights import ASSETS, save_checkpoint
from sab3r_ros.training.objective import ObjectiveConfig

# The paper's weights are for fine-tuning MASt3R; here descriptors and features must be learnt from nothing.
TINY_OBJECTIVE = replace(ObjectiveConfig(), matching_weight=0.3, clip_weight=60.0)


def distill(out: Path, steps: int, groups: int, lr: float, text: str, export: Path | None) -> None:
    """Train the tiny preset on procedural rooms; resumes a run found in OUT."""
    try:
        from sab3r_ros.training.distill import network_from_training_checkpoint, train_distill
    except ImportError as error:
        raise ValueError(f"training needs {error.name}: pip install 'sab3r_ros[train]'") from error

    encoder = text or f"local-dir:{ASSETS / 'sab3r_tiny' / 'text'}"
    last = train_distill(out, PRESETS["tiny"], encoder, steps, groups, lr, objective=TINY_OBJECTIVE)
    print(f"trained {steps} steps -> {last}")
    if export is not None:
        network = network_from_training_checkpoint(last, PRESETS["tiny"])
        save_checkpoint(
            export, network, export.name, text or encoder, "Apache-2.0", {"data": "procedural rooms", "steps": steps}
        )
        print(f"exported -> {export}")
