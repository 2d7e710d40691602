"""The SAB3R network (arXiv 2506.02112): MASt3R's (2406.09756) two-view transformer with open-vocabulary feature heads.

One image is encoded once; a pair of encoded images is decoded into pointmaps in the first one's camera frame,
confidences, matching descriptors and features. The encoder is exchangeable (`models.base.Encoder`). Names in state dicts
are those of the public checkpoints, whose encoder has no prefix of its own.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sab3r_ros.models.base import EncodedView, Encoder
from sab3r_ros.models.encoders.croco_vit import CrocoEncoder
from sab3r_ros.models.encoders.dune import DuneEncoder
from sab3r_ros.models.encoders.efficientnet import EfficientNetEncoder
from sab3r_ros.models.heads import DPTHead, PixelShuffleMlp, ViewPrediction, exp_confidence, exp_vector
from sab3r_ros.models.layers import NORM_EPS, DecoderBlock, rotary_table
from sab3r_ros.models.pyramid_heads import PyramidViewHead

_PUBLIC_ENCODER = ("patch_embed.", "enc_blocks.", "enc_norm.")  # CroCo's, as checkpoints name it


class DptSizes(NamedTuple):
    """Channels of a DPT head: of what it makes of the tokens of each depth, of its maps, and before its last layer."""

    layer_dims: tuple[int, int, int, int]
    dim: int
    last_dim: int


@dataclass(frozen=True)
class Sab3rConfig:
    """Sizes of the network.

    `encoder`: "croco", "dune" or "efficientnet" (whose heads are those of `pyramid_heads`); `patch`: pixels per token; `enc_table_side`, `enc_registers`: of DUNE's encoder alone.
    `clip_head`, `dino_head`: "dpt", "linear" or None. `feature_dpt_dim`, `feature_last_dim`, `feature_layer_dims`: sizes of
    the feature heads' DPT where they are not those of the points' (None): features have more numbers than points, and in a
    small network they do not fit through heads that are wide enough for points. `desc_conf_floor`: 0 in MASt3R's checkpoints
    (exp(c)), 1 in SAB3R's (1 + exp(c)). `image_size` is the long side in pixels that the weights were trained for.
    """

    encoder: str = "croco"
    patch: int = 16
    enc_table_side: int = 0
    enc_registers: int = 0
    enc_dim: int = 1024
    enc_depth: int = 24
    enc_heads: int = 16
    dec_dim: int = 768
    dec_depth: int = 12
    dec_heads: int = 12
    mlp_ratio: float = 4.0
    rope_base: float = 100.0
    image_size: int = 512
    dpt_dim: int = 256
    dpt_last_dim: int = 128
    dpt_layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768)
    feature_dpt_dim: int | None = None
    feature_last_dim: int | None = None
    feature_layer_dims: tuple[int, int, int, int] | None = None
    desc_dim: int = 24
    desc_hidden_factor: float = 4.0
    desc_conf_floor: float = 0.0
    clip_head: str | None = None
    clip_dim: int = 512
    dino_head: str | None = None
    dino_dim: int = 384

    @property
    def hooks(self) -> tuple[int, int, int, int]:
        """Which entries of the decoder's list the DPT heads read."""
        n = self.dec_depth
        return 0, n * 2 // 4, n * 3 // 4, n

    @property
    def point_sizes(self) -> "DptSizes":
        """Of the points' DPT."""
        return DptSizes(self.dpt_layer_dims, self.dpt_dim, self.dpt_last_dim)

    @property
    def feature_sizes(self) -> "DptSizes":
        """Of the feature heads' DPT."""
        layers, dim, last = self.point_sizes
        return DptSizes(self.feature_layer_dims or layers, self.feature_dpt_dim or dim, self.feature_last_dim or last)


PRESETS = {
    "vit_large_512": Sab3rConfig(),
    "tiny": Sab3rConfig(
        enc_dim=192, enc_depth=5, enc_heads=6, dec_dim=128, dec_depth=4, dec_heads=4, image_size=128,
        dpt_dim=40, dpt_last_dim=24, dpt_layer_dims=(24, 48, 96, 96), desc_dim=16, desc_hidden_factor=0.25,
        clip_head="dpt", clip_dim=48, feature_dpt_dim=64, feature_last_dim=64, feature_layer_dims=(64, 64, 96, 96),
    ),
    "small": Sab3rConfig(
        encoder="efficientnet", enc_dim=224, enc_depth=2, enc_heads=7, dec_dim=128, dec_depth=4, dec_heads=4, image_size=320,
        dpt_dim=40, dpt_last_dim=32, desc_dim=16, clip_head="dpt", clip_dim=48, feature_dpt_dim=64, feature_last_dim=64,
    ),
}  # fmt: skip


class ViewHead(nn.Module):
    """All dense outputs of one side of the pair."""

    def __init__(self, cfg: Sab3rConfig):
        super().__init__()
        self.cfg = cfg
        token_dims = (cfg.enc_dim, cfg.dec_dim, cfg.dec_dim, cfg.dec_dim)
        pair_dim = cfg.enc_dim + cfg.dec_dim

        def feature_head(kind, out_dim):
            if kind is None:
                return None
            if kind == "linear":
                return PixelShuffleMlp(pair_dim, pair_dim, out_dim, cfg.patch)
            return DPTHead(token_dims, *cfg.feature_sizes, out_dim, cfg.patch)

        self.dpt = DPTHead(token_dims, *cfg.point_sizes, 4, cfg.patch)
        hidden = int(cfg.desc_hidden_factor * pair_dim)
        self.head_local_features = PixelShuffleMlp(pair_dim, hidden, cfg.desc_dim + 1, cfg.patch)
        self.clip_head = feature_head(cfg.clip_head, cfg.clip_dim)
        self.dino_head = feature_head(cfg.dino_head, cfg.dino_dim)

    def forward(
        self, layers: list[Tensor], grid: tuple[int, int], features: bool = True, descriptors: bool = True,
        _pyramid: tuple[Tensor, ...] = (),
    ) -> ViewPrediction:  # fmt: skip
        """layers: the decoder's list (entry 0 is the encoder's output); grid (h,w) of the tokens."""
        layers = [t.float() for t in layers]

        def dense(head):
            return self._dense(head, layers, grid)

        raw = dense(self.dpt)
        out = ViewPrediction(exp_vector(raw[..., :3]), exp_confidence(raw[..., 3], 1.0), None, None)
        if descriptors:
            raw = dense(self.head_local_features)
            out.desc = raw[..., :-1] * raw[..., :-1].norm(dim=-1, keepdim=True).reciprocal()
            out.desc_conf = exp_confidence(raw[..., -1], self.cfg.desc_conf_floor)
        if features:
            for name, raw in self.raw_features(layers, grid).items():
                setattr(out, name, exp_vector(raw))
        return out

    def clip_features(self, layers: list[Tensor], grid: tuple[int, int], _pyramid: tuple[Tensor, ...] = ()) -> Tensor:
        """The language-aligned features (B,patch*h,patch*w,C) alone."""
        return exp_vector(self._dense(self.clip_head, [t.float() for t in layers], grid))

    def raw_features(
        self, layers: list[Tensor], grid: tuple[int, int], _pyramid: tuple[Tensor, ...] = ()
    ) -> dict[str, Tensor]:
        """What the feature heads there are, "clip" and "dino", say before the activation, each (B,patch*h,patch*w,C)."""
        heads = {"clip": self.clip_head, "dino": self.dino_head}
        return {name: self._dense(head, layers, grid) for name, head in heads.items() if head is not None}

    def _dense(self, head, layers, grid):
        if isinstance(head, DPTHead):
            raw = head([layers[k] for k in self.cfg.hooks], grid)
        else:
            raw = head(torch.cat([layers[0], layers[-1]], -1), grid)
        return raw.permute(0, 2, 3, 1)


def make_encoder(cfg: Sab3rConfig) -> Encoder:
    """The encoder that a configuration names. Raises ValueError for an unknown one."""
    if cfg.encoder == "croco":
        return CrocoEncoder(cfg.enc_dim, cfg.enc_depth, cfg.enc_heads, cfg.mlp_ratio, cfg.rope_base)
    if cfg.encoder == "dune":
        sizes = cfg.enc_dim, cfg.enc_depth, cfg.enc_heads, cfg.mlp_ratio
        return DuneEncoder(*sizes, cfg.patch, cfg.enc_table_side, cfg.enc_registers)
    if cfg.encoder == "efficientnet":
        return EfficientNetEncoder(cfg.enc_dim, cfg.enc_depth, cfg.enc_heads, cfg.mlp_ratio, cfg.rope_base)
    raise ValueError(f"unknown encoder {cfg.encoder!r}; known: croco, dune, efficientnet")


class Sab3r(nn.Module):
    """Encoder, two decoders and the heads of both views."""

    def __init__(self, cfg: Sab3rConfig):
        super().__init__()
        self.cfg = cfg
        self.mask_token = nn.Parameter(torch.zeros(1, 1, cfg.dec_dim))  # in the public file; unused here
        self.encoder = make_encoder(cfg)
        self.decoder_embed = nn.Linear(cfg.enc_dim, cfg.dec_dim)
        self.dec_blocks, self.dec_blocks2 = (
            nn.ModuleList(DecoderBlock(cfg.dec_dim, cfg.dec_heads, cfg.mlp_ratio) for _ in range(cfg.dec_depth))
            for _ in range(2)
        )
        self.dec_norm = nn.LayerNorm(cfg.dec_dim, eps=NORM_EPS)
        if cfg.encoder == "efficientnet":
            dims = self.encoder.pyramid_dims
            self.downstream_head1 = PyramidViewHead(cfg, dims, features=cfg.clip_head is not None)
            self.downstream_head2 = PyramidViewHead(cfg, dims, features=False)
        else:
            self.downstream_head1, self.downstream_head2 = ViewHead(cfg), ViewHead(cfg)
        if cfg.encoder == "croco":
            self.register_state_dict_post_hook(_to_public_names)
            self.register_load_state_dict_pre_hook(_from_public_names)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mask_token.device

    def encode(self, images: Tensor, true_shape: Tensor | None = None) -> EncodedView:
        """Encode images (B,3,H,W) with values in [-1,1], H and W multiples of the patch; see `models.base.Encoder`."""
        return self.encoder(images, true_shape)

    def decode(self, view1: EncodedView, view2: EncodedView) -> tuple[list[Tensor], list[Tensor]]:
        """Cross-attend two batches of encoded views; returns each side's list of dec_depth + 1 token maps."""
        head_dim = self.cfg.dec_dim // self.cfg.dec_heads
        rot1, rot2 = (rotary_table(v.positions, head_dim, self.cfg.rope_base) for v in (view1, view2))
        x1, x2 = self.decoder_embed(view1.tokens), self.decoder_embed(view2.tokens)
        layers1, layers2 = [view1.tokens], [view2.tokens]
        for block1, block2 in zip(self.dec_blocks, self.dec_blocks2, strict=True):
            x1, x2 = block1(x1, x2, rot1, rot2), block2(x2, x1, rot2, rot1)
            layers1.append(x1)
            layers2.append(x2)
        layers1[-1], layers2[-1] = self.dec_norm(x1), self.dec_norm(x2)
        return layers1, layers2

    def head(
        self, side: int, layers: list[Tensor], view: EncodedView, features: bool = True, descriptors: bool = True
    ) -> ViewPrediction:
        """Dense outputs of side 1 or 2, always in float32, in the orientation the images are stored in."""
        module = self._heads(side)
        h, w = view.grid
        with torch.autocast(layers[0].device.type, enabled=False):
            if view.portrait is None:
                return module(layers, (h, w), features, descriptors, view.pyramid)
            landscape = module([t[~view.portrait] for t in layers], (h, w), features, descriptors)
            upright = module([t[view.portrait] for t in layers], (w, h), features, descriptors)
        merged: dict[str, Tensor | None] = {}
        for name, flat in vars(landscape).items():
            turned = getattr(upright, name)
            if flat is None or turned is None:
                merged[name] = None
                continue
            merged[name] = flat.new_empty(len(view), *flat.shape[1:])
            merged[name][~view.portrait] = flat
            merged[name][view.portrait] = turned.transpose(1, 2)
        return ViewPrediction(**merged)

    def clip_features(self, layers: list[Tensor], view: EncodedView) -> Tensor | None:
        """The language-aligned features (B,H,W,C) of untransposed views as side 1; None without such a head.

        They cost as much as all geometry, and only images that are fused into a map need them.
        """
        if self.downstream_head1.clip_head is None:
            return None
        with torch.autocast(layers[0].device.type, enabled=False):
            return self.downstream_head1.clip_features(layers, view.grid, view.pyramid)

    def raw_features(self, side: int, layers: list[Tensor], view: EncodedView) -> dict[str, Tensor]:
        """The feature heads' dense outputs of side 1 or 2 before their activation, for training, which may look at a part of them.

        Each (B,H,W,C): "clip" and "dino" as far as there are such heads; untransposed views; autocast holds here.
        """
        return self._heads(side).raw_features(layers, view.grid, view.pyramid)

    def _heads(self, side: int) -> ViewHead | PyramidViewHead:
        return self.downstream_head1 if side == 1 else self.downstream_head2

    def predict(
        self, view1: EncodedView, view2: EncodedView, features: bool = True, descriptors: bool = True
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """Decode and run both heads."""
        layers1, layers2 = self.decode(view1, view2)
        return (
            self.head(1, layers1, view1, features, descriptors),
            self.head(2, layers2, view2, features, descriptors),
        )

    def forward(
        self, image1: Tensor, image2: Tensor, true_shape1: Tensor | None = None, true_shape2: Tensor | None = None
    ) -> tuple[ViewPrediction, ViewPrediction]:
        """Both views' predictions from two batches of images (B,3,H,W) in [-1,1]."""
        return self.predict(self.encode(image1, true_shape1), self.encode(image2, true_shape2))


def _to_public_names(_module, state: dict[str, Tensor], prefix: str, _metadata) -> None:
    own = f"{prefix}encoder."
    for name in [k for k in state if k.startswith(own)]:
        state[prefix + name.removeprefix(own)] = state.pop(name)


def _from_public_names(_module, state: dict[str, Tensor], prefix: str, *_others) -> None:
    public = tuple(prefix + name for name in _PUBLIC_ENCODER)
    for name in [k for k in state if k.startswith(public)]:
        state[f"{prefix}encoder.{name.removeprefix(prefix)}"] = state.pop(name)
