"""Text to the feature space of the CLIP head, through open_clip."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
        if template:
            if "{}" not in template:
                raise ValueError(f"a prompt template needs {{}} where the label goes, got {template!r}")
            return self.encode_texts([template.format(label) for label in cleaned])
        prompts = [make(label) for label in cleaned for make in self._templates]
        each = self.encode_texts(prompts).unflatten(0, (len(cleaned), -1))
        return torch.nn.functional.normalize(each.mean(1), dim=-1)


def text_encoder_for(
    known: tuple[str, str | None] | None, name: str = "", pretrained: str = "", device: str = "cpu"
) -> TextEncoder | None:
    """The text encoder that settings ask for, else the one a checkpoint names, else None.

    Raises ValueError as TextEncoder.
    """
    if name:
        return TextEncoder(name, pretrained or None, device)
    return TextEncoder(*known, device=device) if known else None
