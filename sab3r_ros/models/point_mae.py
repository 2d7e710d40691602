"""Point-MAE (arXiv 2203.06604): a transformer over patches of a point cloud, under the names of its public checkpoints."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sab3r_ros.models.layers import Mlp, attend


@dataclass(frozen=True)
class PointMaeConfig:
    """Sizes: `groups` patches of `group_size` points, `patch_width` channels in the PointNet of a patch; decoder of the
    pre-training only."""

    dim: int = 384
    depth: int = 12
    heads: int = 6
    groups: int = 64
    group_size: int = 32
    patch_width: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 6
    drop_path: float = 0.1


def farthest_points(points: Tensor, count: int, start: Tensor | None = None) -> Tensor:
    """Farthest-point sampling: indices (B,count) into points (B,N,3).

    start (B,) the first index of each cloud; default: the point farthest from the mean, so that the result depends
    on the cloud alone. Ties go to the lowest index. Raises ValueError when count is not in [1, N].
    """
    batch, total = points.shape[:2]
    if not 1 <= count <= total:
        raise ValueError(f"cannot choose {count} of {total} points")
    current = (points - points.mean(1, keepdim=True)).square().sum(-1).argmax(1) if start is None else start
    rows = torch.arange(batch, device=points.device)
    chosen = [current]
    distance = torch.full((batch, total), torch.inf, device=points.device, dtype=points.dtype)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - points[rows, current][:, None]).square().sum(-1))
        current = distance.argmax(1)
        chosen.append(current)
    return torch.stack(chosen, 1)


def gather_points(values: Tensor, index: Tensor) -> Tensor:
    """values (B,N,C) at index (B,...) as (B,...,C)."""
    flat = index.flatten(1)
    return values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1])).unflatten(1, index.shape[1:])


def group_points(points: Tensor, groups: int, size: int, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Patches of a cloud: centres (B,G,3) and their `size` nearest points, relative to them (B,G,K,3)."""
    centres = gather_points(points, farthest_points(points, groups, start))
    nearest = torch.cdist(centres, points).topk(size, dim=-1, largest=False).indices
    return centres, gather_points(points, nearest) - centres[:, :, None]


def pointwise(layers: Iterable[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    """1x1 convolutions with what stands between them on rows x (M,C), as matrix products: half the time on a CPU."""
    for layer in layers:
        x = F.linear(x, layer.weight[..., 0], layer.bias) if isinstance(layer, nn.Conv1d) else layer(x)
    return x


class PatchPointNet(nn.Module):
    """A small PointNet per patch: (B,G,K,3) to tokens (B,G,dim)."""

    def __init__(self, dim: int, width: int):
        super().__init__()
        a, b = width // 4, width // 2
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, a, 1), nn.BatchNorm1d(a), nn.ReLU(inplace=True), nn.Conv1d(a, b, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(width, width, 1), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Conv1d(width, dim, 1)
        )

    def forward(self, patches: Tensor) -> Tensor:
        shape = patches.shape[:3]
        x = pointwise(self.first_conv, patches.reshape(-1, 3)).unflatten(0, shape)
        x = torch.cat([x.amax(2, keepdim=True).expand_as(x), x], -1)
        return pointwise(self.second_conv, x.flatten(0, 2)).unflatten(0, shape).amax(2)


class Attention(nn.Module):
    """Multi-head self-attention without a bias on queries, keys and values."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """Pre-norm block with stochastic depth per sample."""

    def __init__(self, dim: int, heads: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim, dim)
        self.drop_path = drop_path

    def _kept(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return x
        keep = 1 - self.drop_path
        return x * (torch.rand(len(x), 1, 1, device=x.device) < keep) / keep

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._kept(self.attn(self.norm1(x)))
        return x + self._kept(self.mlp(self.norm2(x)))


class Blocks(nn.Module):
    """Blocks before each of which the positions are added anew."""

    def __init__(self, dim: int, depth: int, heads: int, drop_path: float):
        super().__init__()
        rates = [drop_path * k / max(depth - 1, 1) for k in range(depth)]
        self.blocks = nn.ModuleList(Block(dim, heads, rate) for rate in rates)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x + position)
        return x


def position_mlp(dim: int) -> nn.Sequential:
    """Centres (...,3) to position embeddings (...,dim)."""
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, dim))


class PointEncoder(nn.Module):
    """The encoder: patches to tokens. Key names are those under `MAE_encoder.` in the public files."""

    def __init__(self, cfg: PointMaeConfig):
        super().__init__()
        self.cfg = cfg
        self.encoder = PatchPointNet(cfg.dim, cfg.patch_width)
        self.pos_embed = position_mlp(cfg.dim)
        self.blocks = Blocks(cfg.dim, cfg.depth, cfg.heads, cfg.drop_path)
        self.norm = nn.LayerNorm(cfg.dim)
        self.apply(_initialise)

    def forward(self, centres: Tensor, patches: Tensor, visible: Tensor | None = None) -> Tensor:
        """centres (B,G,3), patches (B,G,K,3) to tokens (B,G,dim); visible (B,G) bool with the same number true per cloud: only these."""
        tokens, position = self.encoder(patches), self.pos_embed(centres)
        if visible is not None:
            tokens, position = (t[visible].unflatten(0, (len(t), -1)) for t in (tokens, position))
        return self.norm(self.blocks(tokens, position))


class MaeDecoder(nn.Module):
    """The decoder of the pre-training: returns the last `count` tokens."""

    def __init__(self, cfg: PointMaeConfig):
        super().__init__()
        self.blocks = Blocks(cfg.dim, cfg.decoder_depth, cfg.decoder_heads, cfg.drop_path).blocks
        self.norm = nn.LayerNorm(cfg.dim)
        self.apply(_initialise)

    def forward(self, x: Tensor, position: Tensor, count: int) -> Tensor:
        for block in self.blocks:
            x = block(x + position)
        return self.norm(x[:, -count:])


class PointMae(nn.Module):
    """Masked auto-encoding of patches; what CMAT pre-trains."""

    def __init__(self, cfg: PointMaeConfig):
        super().__init__()
        self.cfg = cfg
        self.MAE_encoder = PointEncoder(cfg)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, cfg.dim))
        self.decoder_pos_embed = position_mlp(cfg.dim)
        self.MAE_decoder = MaeDecoder(cfg)
        self.increase_dim = nn.Sequential(nn.Conv1d(cfg.dim, 3 * cfg.group_size, 1))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, centres: Tensor, patches: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
        """masked (B,G) bool with the same number true per cloud: visible tokens (B,V,dim) and rebuilt patches (B*M,K,3)."""
        visible = self.MAE_encoder(centres, patches, ~masked)
        seen, hidden = (self.decoder_pos_embed(centres[m].unflatten(0, (len(centres), -1))) for m in (~masked, masked))
        count = hidden.shape[1]
        x = torch.cat([visible, self.mask_token.expand(len(visible), count, -1)], 1)
        rebuilt = self.MAE_decoder(x, torch.cat([seen, hidden], 1), count)
        return visible, pointwise(self.increase_dim, rebuilt.flatten(0, 1)).unflatten(1, (self.cfg.group_size, 3))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Linear, nn.Conv1d)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
