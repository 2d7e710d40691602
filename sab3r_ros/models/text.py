"""Text to the feature space of the CLIP head, through open_clip."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sab3r_ros.files import replacing, write_json
from sab3r_ros.models.state_dicts import load_strict

_CACHE = 10_000  # labels whose embeddings are kept: with 80 templates each costs a tenth of a second and more


class TextEncoder:
    """Encodes labels and phrases as unit vectors.

    name: an open_clip model name or "local-dir:FOLDER"; pretrained: a tag or a file for named models.
    Raises ValueError with what to do when the model or its weights cannot be had.
    """

    def __init__(self, name: str, pretrained: str | None = None, device: str = "cpu"):
        import open_clip

        try:
            model = open_clip.create_model(name, pretrained=pretrained, device=device, require_pretrained=True)
            self._tokenizer = open_clip.get_tokenizer(name)
        except (RuntimeError, OSError, ValueError) as error:
            raise ValueError(
                f"cannot load the text encoder {name!r} (pretrained {pretrained!r}): {error}. "
                "Give a folder as local-dir:FOLDER, or an open_clip name with a weight file."
            ) from error
        self._model = model.eval()
        self._device = device
        self._templates = open_clip.OPENAI_IMAGENET_TEMPLATES
        self._cache: dict[tuple[str, str | None], Tensor] = {}
        self.name = name

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as they are to (T,C) unit vectors on the CPU."""
        rows = []
        for start in range(0, len(texts), 256):
            tokens = self._tokenizer(list(texts[start : start + 256])).to(self._device)
            rows.append(self._model.encode_text(tokens, normalize=True).float().cpu())
        return torch.cat(rows)

    def encode_labels(self, labels: Sequence[str], template: str | None = None) -> Tensor:
        """Labels to (L,C) unit vectors, ensembled over CLIP's 80 templates.

        template: one template with "{}" instead of the 80. Raises ValueError for an empty list or label.
        """
        cleaned = [label.strip() for label in labels]
        if not cleaned or not all(cleaned):
            raise ValueError("labels must not be empty")
        if template and "{}" not in template:
            raise ValueError(f"a prompt template needs {{}} where the label goes, got {template!r}")
        if len(self._cache) > _CACHE:
            self._cache.clear()
        new = [label for label in dict.fromkeys(cleaned) if (label, template) not in self._cache]
        if new:
            rows = self._encode(new, template)
            self._cache.update({(label, template): row for label, row in zip(new, rows, strict=True)})
        return torch.stack([self._cache[label, template] for label in cleaned])

    def _encode(self, labels: list[str], template: str | None) -> Tensor:
        if template:
            return self.encode_texts([template.format(label) for label in labels])
        prompts = [make(label) for label in labels for make in self._templates]
        each = self.encode_texts(prompts).unflatten(0, (len(labels), -1))
        return torch.nn.functional.normalize(each.mean(1), dim=-1)


def tower_config(embed_dim: int, width: int, heads: int, layers: int, context: int) -> dict:
    """An open_clip configuration for a small text tower.

    open_clip's towers come in pairs; the vision tower is a placeholder, since images go through SAB3R.
    """
    return {
        "model_cfg": {
            "embed_dim": embed_dim,
            "vision_cfg": {"image_size": 16, "patch_size": 16, "layers": 1, "width": 16, "head_width": 16},
            "text_cfg": {
                "context_length": context,
                "vocab_size": 49408,
                "width": width,
                "heads": heads,
                "layers": layers,
            },
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    }


def save_tower(folder: Path, model: nn.Module, config: dict) -> None:
    """Write an open_clip folder: FOLDER/open_clip_config.json and open_clip_model.safetensors (float16)."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    with replacing(folder / "open_clip_model.safetensors") as part:
        save_file(state, part)
        part.chmod(0o644)
    write_json(folder / "open_clip_config.json", config)


class PromptEncoder(nn.Module):
    """An open_clip text tower read token by token: what CAST attends to.

    Saved as an open_clip folder (config and weights), like any other tower. Raises ValueError for a damaged folder.
    """

    def __init__(self, width: int, layers: int = 2, heads: int = 4, context: int = 32):
        super().__init__()
        import open_clip
        from open_clip.model import CLIP

        self.config = tower_config(width, width, heads, layers, context)
        self.tower = CLIP(**self.config["model_cfg"])
        self.tower.visual.requires_grad_(False)  # open_clip's towers come in pairs; images go another way
        self._tokenizer = open_clip.get_tokenizer("ViT-B-32", context_length=context)

    def forward(self, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Questions to token features (B,T,width) and padding (B,T), true behind the end of a question."""
        tower = self.tower
        tokens = self._tokenizer(list(questions)).to(tower.positional_embedding.device)
        length = tokens.argmax(1) + 1  # the end token has the largest number
        tokens = tokens[:, : int(length.max())]
        x = tower.token_embedding(tokens) + tower.positional_embedding[: tokens.shape[1]]
        x = tower.transformer(x, attn_mask=tower.attn_mask[: tokens.shape[1], : tokens.shape[1]])
        padding = torch.arange(tokens.shape[1], device=tokens.device) >= length[:, None]
        return tower.ln_final(x), padding

    def save(self, folder: Path) -> None:
        """Write FOLDER/open_clip_config.json and open_clip_model.safetensors (float16)."""
        save_tower(folder, self.tower, self.config)

    @classmethod
    def load(cls, folder: Path) -> "PromptEncoder":
        """Read what `save` wrote."""
        try:
            text = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
            encoder = cls(text["width"], text["layers"], text["heads"], text["context_length"])
            state = load_file(folder / "open_clip_model.safetensors")
            floats = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
            load_strict(encoder.tower, floats, folder)
        except (OSError, KeyError, RuntimeError, SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(
                f"cannot load the prompt encoder in {folder}: {(str(error).splitlines() or ['?'])[0]}"
            ) from error
        return encoder


def text_encoder_for(
    known: tuple[str, str | None] | None, name: str = "", pretrained: str = "", device: str = "cpu"
) -> TextEncoder | None:
    """The text encoder that settings ask for, else the one a checkpoint names, else None.

    Raises ValueError as TextEncoder.
    """
    if name:
        return TextEncoder(name, pretrained or None, device)
    return TextEncoder(*known, device=device) if known else None
