"""CAST (arXiv 2510.08316; LAS in its later version): a prompt and a point cloud to the part that affords an action."""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.local_shape import LocalShape
from sab3r_ros.models.point_mae import PointEncoder, PointMaeConfig, gather_points, group_points, pointwise


@dataclass(frozen=True)
class CastConfig:
    """Sizes of the segmenter.

    text_dim, image_dim: width of the prompt tokens of each kind; 0 = that kind is not taken. layout: "patch" fuses
    the prompt with patches and then spreads the result over the points (as the paper draws it); "point" spreads
    first and fuses every point (as released, about (N/G)^2 times the attention pairs). neighbours: how many of a
    point's neighbours say more of its place than its patches do (`LocalShape`, not in the paper); 0 = none.
    """

    points: PointMaeConfig = field(default_factory=lambda: PointMaeConfig(groups=128))
    dim: int = 512
    layers: int = 6
    heads: int = 8
    ffn: int = 2048
    head_dim: int = 256
    text_dim: int = 768
    image_dim: int = 0
    dropout: float = 0.1
    layout: str = "patch"
    neighbours: int = 0


CAST_PRESETS = {
    "las_laso": CastConfig(layout="point"),
    "cast_tiny": CastConfig(
        points=PointMaeConfig(
            dim=128, depth=4, heads=4, groups=128, patch_width=128, decoder_depth=2, decoder_heads=4, drop_path=0.0
        ),
        dim=128, layers=3, heads=4, ffn=256, head_dim=64, text_dim=64, image_dim=192, dropout=0.0, neighbours=24,
    ),
}  # fmt: skip


class FeaturePropagation(nn.Module):
    """Patch features to points: inverse-distance interpolation of the three nearest centres, then two convolutions."""

    def __init__(self, dim: int):
        super().__init__()
        self.mlp_convs = nn.ModuleList(nn.Conv1d(dim, dim, 1) for _ in range(2))
        self.mlp_bns = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(2))

    def forward(self, points: Tensor, centres: Tensor, features: Tensor, local: Tensor | None = None) -> Tensor:
        """points (B,N,3), centres (B,G,3), features (B,G,D) to (B,N,D); local (B,N,D): what points know themselves."""
        squared, nearest = torch.cdist(points, centres).square().topk(3, dim=-1, largest=False)
        weight = 1 / (squared + 1e-8)
        weight = weight / weight.sum(-1, keepdim=True)
        x = (gather_points(features, nearest) * weight[..., None]).sum(2)
        if local is not None:
            x = x + local
        shape = x.shape[:2]
        x = x.flatten(0, 1)
        for conv, norm in zip(self.mlp_convs, self.mlp_bns, strict=True):
            x = pointwise((conv, norm, F.relu), x)
        return x.unflatten(0, shape)


class Fusion(nn.Module):
    """Joint self-attention over points and prompt: post-norm layers and a last norm."""

    def __init__(self, cfg: CastConfig):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            cfg.dim, cfg.heads, cfg.ffn, cfg.dropout, activation="gelu", batch_first=True, norm_first=False
        )
        self.transformer = nn.TransformerEncoder(layer, cfg.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(cfg.dim)

    def forward(self, points: Tensor, prompt: Tensor, padding: Tensor) -> Tensor:
        """points (B,P,D), prompt (B,T,D), padding (B,T) true where there is no token, to the points' (B,P,D)."""
        count = points.shape[1]
        hidden = F.pad(padding, (count, 0), value=False)
        return self.norm(self.transformer(torch.cat([points, prompt], 1), src_key_padding_mask=hidden))[:, :count]


class SegmentationHead(nn.Module):
    """Features (B,N,D) to one logit per point (B,N,1)."""

    def __init__(self, cfg: CastConfig):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(cfg.dim, cfg.head_dim), nn.ReLU(), nn.Dropout(cfg.dropout),
            nn.Linear(cfg.head_dim, cfg.head_dim), nn.ReLU(), nn.Dropout(cfg.dropout), nn.Linear(cfg.head_dim, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class PointBackbone(nn.Module):
    """Holds the encoder under the name that the released checkpoints give it."""

    def __init__(self, cfg: PointMaeConfig):
        super().__init__()
        self.MAE_encoder = PointEncoder(cfg)


@dataclass
class Prompt:
    """Prompt tokens of a batch: text (B,T,text_dim), image (B,M,image_dim), or both.

    padding (B,T) and image_padding (B,M) are true where there is no token; None: all are tokens.
    """

    text: Tensor | None = None
    padding: Tensor | None = None
    image: Tensor | None = None
    image_padding: Tensor | None = None

    def __getitem__(self, rows) -> "Prompt":
        return replace(self, **{k: v[rows] for k, v in vars(self).items() if v is not None})


@dataclass
class EncodedCloud:
    """Patches of clouds, centres (B,G,3) and projected tokens (B,G,D), and the places (B,M,3) that answers are for, with
    what is known of each alone (B,M,D)."""

    centres: Tensor
    tokens: Tensor
    places: Tensor
    local: Tensor | None = None

    def repeat(self, times: int) -> "EncodedCloud":
        """The batch `times` over, one after the other."""
        return EncodedCloud(**{k: None if v is None else v.repeat(times, 1, 1) for k, v in vars(self).items()})


class Cast(nn.Module):
    """Point encoder, prompt projections, fusion, head. Names are those of the released checkpoints.

    With an image prompt beside text, both are joined; `prompt_*` belong to text, `image_*` (not in the released
    files, which have one kind each) to images.
    """

    def __init__(self, cfg: CastConfig):
        super().__init__()
        if cfg.layout not in ("patch", "point") or not (cfg.text_dim or cfg.image_dim):
            raise ValueError("CAST needs layout patch or point, and at least one kind of prompt")
        self.cfg = cfg
        self.point_encoder = PointBackbone(cfg.points)
        self.point_projection = _projection(cfg.points.dim, cfg.dim)
        self.point_type_embedding = _embedding(cfg.dim)
        if cfg.text_dim:
            self.prompt_projection = _projection(cfg.text_dim, cfg.dim)
            self.prompt_type_embedding = _embedding(cfg.dim)
        if cfg.image_dim:
            self.image_projection = _projection(cfg.image_dim, cfg.dim)
            self.image_type_embedding = _embedding(cfg.dim)
        self.feature_propagation = FeaturePropagation(cfg.dim)
        if cfg.neighbours:
            self.local_shape = LocalShape(cfg.dim, cfg.neighbours)
        self.co_attention_transformer = Fusion(cfg)
        self.segmentation_head = SegmentationHead(cfg)

    def forward(self, points: Tensor, prompt: Prompt) -> Tensor:
        """points (B,N,3), centred and scaled to the unit sphere, N at least the number of patches, to logits (B,N,1).

        Raises ValueError for a prompt of a kind that the network does not take.
        """
        return self.decode(self.encode(points), prompt)

    def encode(self, points: Tensor, places: Tensor | None = None) -> EncodedCloud:
        """Clouds as for `forward` to what any number of prompts can be asked about; places (B,M,3): default all points."""
        places = points if places is None else places
        centres, patches = group_points(
            points, self.cfg.points.groups, min(self.cfg.points.group_size, points.shape[1])
        )
        tokens = self.point_projection(self.point_encoder.MAE_encoder(centres, patches))
        local = self.local_shape(places, points) if self.cfg.neighbours else None
        return EncodedCloud(centres, tokens, places, local)

    def decode(self, cloud: EncodedCloud, prompt: Prompt) -> Tensor:
        """Logits (B,M,1) at the places of the clouds. Raises ValueError as `forward`."""
        tokens = cloud.tokens
        asked, padding = self._prompt_tokens(prompt, len(tokens), tokens.device)
        if self.cfg.layout == "point":
            tokens = self.feature_propagation(cloud.places, cloud.centres, tokens, cloud.local)
        fused = self.co_attention_transformer(tokens + self.point_type_embedding, asked, padding)
        if self.cfg.layout == "patch":
            fused = self.feature_propagation(cloud.places, cloud.centres, fused, cloud.local)
        return self.segmentation_head(fused)

    def _prompt_tokens(self, prompt: Prompt, batch: int, device) -> tuple[Tensor, Tensor]:
        tokens, padding = [], []
        kinds = (("prompt", prompt.text, prompt.padding), ("image", prompt.image, prompt.image_padding))
        for kind, given, masked in kinds:
            if given is None:
                continue
            if not hasattr(self, f"{kind}_projection"):
                raise ValueError(f"this checkpoint takes no {'text' if kind == 'prompt' else 'image'} prompts")
            tokens.append(getattr(self, f"{kind}_projection")(given) + getattr(self, f"{kind}_type_embedding"))
            padding.append(torch.zeros(given.shape[:2], dtype=torch.bool, device=device) if masked is None else masked)
        if not tokens:
            raise ValueError("a prompt is needed: text, an image, or both")
        return torch.cat(tokens, 1), torch.cat(padding, 1)


def _projection(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _embedding(dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(1, 1, dim) * 0.02)


def unit_sphere(points: Tensor) -> Tensor:
    """Clouds (B,N,3) centred at their mean and divided by the largest radius."""
    points = points - points.mean(1, keepdim=True)
    return points / points.norm(dim=-1).amax(1).clamp(min=1e-9)[:, None, None]
