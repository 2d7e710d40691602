"""A compact open_clip text tower for the default weights: labels and colours of the procedural rooms.

Every label and every colour has a fixed orthonormal code; the target of "red box" is the normalised sum of the
label's code and 0.6 times the colour's, so that a query may name either or both. The tower learns to map phrases,
bare and inside CLIP's templates, to these targets.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from sab3r_ros.synthetic.materials import COLOUR_NAMES
from sab3r_ros.synthetic.objects import LABELS

COLOUR_SHARE = 0.6
SYNONYMS = {
    "table": ("desk", "dining table"), "chair": ("seat", "office chair"), "cabinet": ("cupboard", "counter"),
    "shelves": ("shelf", "bookshelf"), "sofa": ("couch",), "box": ("carton", "cardboard box"), "ball": ("sphere",),
    "mug": ("cup", "coffee mug"), "bottle": ("flask",), "plant": ("potted plant",),
    "television": ("tv", "screen", "monitor"), "lamp": ("floor lamp", "light"),
}  # fmt: skip


def concept_codes(dim: int) -> tuple[Tensor, Tensor]:
    """Orthonormal codes of the labels (16,dim) and the colours (10,dim)."""
    basis = np.linalg.qr(np.random.default_rng(2506).normal(size=(dim, dim)))[0]
    codes = torch.from_numpy(basis.astype(np.float32))
    return codes[: len(LABELS)], codes[len(LABELS) : len(LABELS) + len(COLOUR_NAMES)]


def training_phrases(dim: int) -> tuple[list[str], Tensor]:
    """Phrases and their unit targets (P,dim)."""
    label_codes, colour_codes = concept_codes(dim)
    phrases, targets = [], []
    for label, code in zip(LABELS, label_codes, strict=True):
        for word in (label, *SYNONYMS.get(label, ())):
            phrases.append(word)
            targets.append(code)
            for colour, tint in zip(COLOUR_NAMES, colour_codes, strict=True):
                phrases.append(f"{colour} {word}")
                targets.append(code + COLOUR_SHARE * tint)
    for colour, tint in zip(COLOUR_NAMES, colour_codes, strict=True):
        phrases += [f"{colour} object", f"something {colour}"]
        targets += [tint, tint]
    return phrases, torch.nn.functional.normalize(torch.stack(targets), dim=-1)


def model_config(dim: int, width: int) -> dict:
    """The open_clip configuration; its vision tower is a placeholder, since pictures go through SAB3R."""
    return {
        "model_cfg": {
            "embed_dim": dim,
            "vision_cfg": {"image_size": 16, "patch_size": 16, "layers": 1, "width": 16, "head_width": 16},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": width, "heads": 2, "layers": 2},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    }


def train_text_tower(
    folder: Path, dim: int = 48, width: int = 24, steps: int = 1500, batch: int = 128, seed: int = 0
) -> float:
    """Train and write FOLDER/open_clip_{config.json,model.safetensors} (float16). Returns the final mean cosine."""
    import open_clip
    from open_clip.model import CLIP

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    config = model_config(dim, width)
    model = CLIP(**config["model_cfg"])
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    phrases, targets = training_phrases(dim)
    templates = [
        lambda s: s,
        lambda s: f"a {s}",
        lambda s: f"the {s}",
        lambda s: f"find the {s}",
        *open_clip.OPENAI_IMAGENET_TEMPLATES,
    ]
    parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.")]
    optimiser = torch.optim.AdamW(parameters, lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    cosine = 0.0
    for _ in tqdm(range(steps), desc="text tower"):
        rows = rng.integers(len(phrases), size=batch)
        texts = [templates[rng.integers(len(templates))](phrases[r]) for r in rows]
        similarity = (model.encode_text(tokenizer(texts), normalize=True) * targets[rows]).sum(-1)
        loss = (1 - similarity).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        cosine = 0.98 * cosine + 0.02 * similarity.mean().item() if cosine else similarity.mean().item()
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return cosine
