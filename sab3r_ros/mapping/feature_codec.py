"""Compression of features by projection to an orthonormal basis that grows with what is seen.

Features of `dim` numbers are stored as coordinates in at most `rank` directions. Directions are found by PCA of what
the basis does not yet explain and are only ever appended, so that compressed features written earlier stay valid (new coordinates
read as zero). Dot products with a text embedding are taken in the same coordinates. Features that are no longer than
`rank` are kept as they are.
"""

import torch
from torch import Tensor

_EXPLAINED = 0.98  # share of the energy after which no directions are added
_ABOVE_NOISE = 2.5  # times the median singular value
_SAMPLE = 1024  # features sampled per call


class FeatureCodec:
    """Compresses unit features (N,dim) to (N,rank)."""

    def __init__(self, dim: int, rank: int, device: str = "cpu"):
        self.dim, self.rank = dim, min(rank, dim)
        start = torch.eye(dim) if dim <= rank else torch.zeros(0, dim)
        self.basis = start.to(device)  # (r,dim), orthonormal rows, r <= rank

    def partial_fit(self, features: Tensor) -> None:
        """Append directions for what the basis does not explain of unit features (N,dim)."""
        room = self.rank - len(self.basis)
        if room <= 0 or len(features) < 2:
            return
        sample = features[
            torch.linspace(0, len(features) - 1, min(_SAMPLE, len(features))).long().to(features.device)
        ].float()
        rest = sample - (sample @ self.basis.T) @ self.basis
        energy = sample.square().sum()
        if rest.square().sum() <= (1 - _EXPLAINED) * energy:
            return
        _, s, vt = torch.linalg.svd(rest, full_matrices=False)
        explained = energy - rest.square().sum() + s.square().cumsum(0)
        wanted = int((explained < _EXPLAINED * energy).sum()) + 1
        # Pixel noise spreads evenly over all directions; it must not use up the basis.
        wanted = min(wanted, int((s > _ABOVE_NOISE * s.median()).sum()))
        # Half of what is free goes to one observation at most: later rooms bring features of their own.
        new = vt[: min(wanted, max(1, (room + 1) // 2))]
        if len(new) == 0:
            return
        joint = torch.linalg.qr(torch.cat([self.basis, new]).T).Q.T
        self.basis = torch.cat([self.basis, joint[len(self.basis) :]])

    def encode(self, features: Tensor) -> Tensor:
        """(N,dim) to (N,rank); coordinates of directions not yet found are zero."""
        compressed = features.float() @ self.basis.T
        return torch.nn.functional.pad(compressed, (0, self.rank - compressed.shape[-1]))

    def take_basis(self, basis: Tensor) -> None:
        """Begin with the directions (r,dim) of another codec, where none are known yet: its features then stay as they are."""
        if not len(self.basis) and basis.shape[1] == self.dim:
            self.basis = basis[: self.rank].float().to(self.basis.device)

    def reproject(self, compressed: Tensor, basis: Tensor) -> Tensor:
        """Features (N,F) compressed with another basis (r,dim) in this codec's coordinates (N,rank).

        Zeros where the basis is of features of another length.
        """
        if compressed.shape[1] == 0 or basis.shape[1] != self.dim:
            return torch.zeros(len(compressed), self.rank, device=self.basis.device)
        features = (compressed[:, : len(basis)].float() @ basis.float()).to(self.basis.device)
        self.partial_fit(features)
        return self.encode(features)
