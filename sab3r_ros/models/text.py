"""Text to the feature space of the CLIP head, through open_clip."""

import json
import re
from array import array
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sab3r_ros.files import replacing, write_json
from sab3r_ros.models.state_dicts import load_strict

_BATCH = 512  # texts at a time
_PLAIN = re.compile(r"[A-Za-z0-9]+([ -][A-Za-z0-9]+)*")  # nothing that cleaning would change
_SLOT = "{}"
_CACHE = 10_000  # labels whose embeddings are kept: with 80 templates each costs a tenth of a second and more


class TextEncoder:
    """Encodes labels and phrases as unit vectors.

    name: an open_clip model name or "local-dir:FOLDER"; pretrained: a tag or a file for named models.
    Raises ValueError with what to do when the model or its weights cannot be had.
    """

    def __init__(self, name: str, pretrained: str | None = None, device: str = "cpu"):
        import open_clip
        from open_clip.tokenizer import SimpleTokenizer

        try:
            model = open_clip.create_model(name, pretrained=pretrained, device=device, require_pretrained=True)
            self._tokenizer = open_clip.get_tokenizer(name)
        except (RuntimeError, OSError, ValueError) as error:
            raise ValueError(
                f"cannot load the text encoder {name!r} (pretrained {pretrained!r}): {error}. "
                "Give a folder as local-dir:FOLDER, or an open_clip name with a weight file."
            ) from error
        self._tower = _Tower(model.eval())
        self._device = device
        self._by_words = isinstance(self._tokenizer, SimpleTokenizer) and self._tokenizer.reduction_fn is None
        self._frames: list[list[list[int]]] | None = None  # tokens of the templates' parts before and after the label
        self._templates = open_clip.OPENAI_IMAGENET_TEMPLATES
        self._cache: dict[tuple[str, str | None], Tensor] = {}
        self.name = name

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts as they are to (T,C) unit vectors on the CPU."""
        return self._encode_tokens(self._tokenizer(list(texts)))

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        order = (tokens != 0).sum(1).argsort()  # short ones with short ones
        parts = [self._tower.encode(part.to(self._device)).float().cpu() for part in tokens[order].split(_BATCH)]
        return torch.cat(parts)[order.argsort()]

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
        with torch.inference_mode():
            each = self._encode_tokens(torch.cat([self._in_templates(label) for label in labels]))
        return torch.nn.functional.normalize(each.unflatten(0, (len(labels), -1)).mean(1), dim=-1)

    def _in_templates(self, label: str) -> Tensor:
        """Tokens (80,length) of a label in all templates.

        Plain words are split into tokens once and put into the templates' own tokens, which are the same as those of the
        whole sentence: words and punctuation never share a token. Splitting is what takes the time otherwise.
        """
        if not _PLAIN.fullmatch(label) or not self._by_words:
            return self._tokenizer([make(label) for make in self._templates])
        if self._frames is None:
            parts = [make(_SLOT).split(_SLOT) for make in self._templates]
            self._frames = [[self._tokenizer.encode(part) for part in own] for own in parts]
        inside = self._tokenizer.encode(label)
        length, start, end = self._tokenizer.context_length, self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        rows = array("q")  # torch takes nested lists apart ten times as slowly
        for frame in self._frames:
            tokens = [start, *frame[0]]
            for part in frame[1:]:
                tokens += inside + part
            tokens = [*tokens[: length - 1], end]
            rows.extend(tokens + [0] * (length - len(tokens)))
        return torch.frombuffer(rows, dtype=torch.int64).reshape(-1, length)


class _Tower(nn.Module):
    """open_clip's text tower on sequences no longer than the longest text needs: attention looks backwards only."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens, normalize=True)

    def encode(self, tokens: Tensor) -> Tensor:
        """Padded tokens (T,length) to unit vectors (T,C)."""
        places = getattr(self.model, "positional_embedding", None)
        mask = getattr(self.model, "attn_mask", None)
        used = int((tokens != 0).any(0).sum())
        if places is None or mask is None or used >= tokens.shape[1]:
            return self(tokens)
        shorter = {"model.positional_embedding": places[:used], "model.attn_mask": mask[:used, :used]}
        return torch.func.functional_call(self, shorter, (tokens[:, :used],))


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
