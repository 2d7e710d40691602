"""Rendered walks on the device that trains, and the batches cut from them there: no loader, no copies, no idle GPU.

The folder may still be growing: `refresh` takes in what has been rendered since.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.lab.synthetic.materials import COLOUR_NAMES
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training import array_folder

_FIELDS = ("rgb", "depth", "concept", "cam2world", "intrinsics")


@dataclass
class Batch:
    """G groups of V views as one batch of N = G*V images, and P pairs of them.

    images (N,3,H,W) in [-1, 1]; depth (N,H,W) metres, 0 = none; concept (N,H,W): label * number of colours + colour, -1 = none;
    intrinsics (N,3,3); cam2world (N,4,4); first, second (P,): numbers of the images of each pair.
    """

    images: Tensor
    depth: Tensor
    concept: Tensor
    intrinsics: Tensor
    cam2world: Tensor
    first: Tensor
    second: Tensor


class ViewBank:
    """All finished groups of rendered folders, in the memory of a device.

    Raises ValueError for a folder in which rendering was never begun.
    """

    def __init__(self, folders: list[Path], device: str | torch.device):
        self.folders, self.device = folders, torch.device(device)
        self._taken = [np.zeros(0, bool) for _ in folders]
        self.tensors: dict[str, Tensor] = {}
        self.refresh()

    def __len__(self):
        return len(self.tensors["rgb"]) if self.tensors else 0

    def refresh(self) -> int:
        """Take in groups that were finished since the last call; returns how many there are now."""
        found: dict[str, list[Tensor]] = {name: [self.tensors[name]] if self.tensors else [] for name in _FIELDS}
        for number, folder in enumerate(self.folders):
            arrays, done = array_folder.begun(folder, "sab3r train render")
            new = done.copy()
            new[: len(self._taken[number])] &= ~self._taken[number]
            rows = np.flatnonzero(new)
            self._taken[number] = done
            if not len(rows):
                continue
            for name in _FIELDS:
                found[name].append(self._stored(name, arrays[name][rows]))
        if len(found["rgb"]) > bool(self.tensors):
            self.tensors = {name: torch.cat(parts) for name, parts in found.items()}
        return len(self)

    def _stored(self, name, array):
        if name == "concept":
            array = np.where(array < len(LABELS) * len(COLOUR_NAMES), array.astype(np.int16), np.int16(-1))
        if name in ("cam2world", "intrinsics"):
            array = array.astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def label_weights(self, power: float = -0.35) -> Tensor:
        """(L,) weight of every label: its share of the pixels to this power, 1 on average over the pixels."""
        concept = self.tensors["concept"][:2000, :, ::8, ::8]
        label = (concept[concept >= 0].long() // len(COLOUR_NAMES)).cpu()
        share = torch.bincount(label, minlength=len(LABELS)).float() + 1
        share /= share.sum()
        weight = share**power
        return (weight / (weight * share).sum()).to(self.device)

    def batch(self, groups: int, views: int, pairs: int, generator: torch.Generator) -> Batch:
        """Random groups, `views` of the views of each and `pairs` ordered pairs of these, as a bad camera sees them."""
        total, kept = self.tensors["rgb"].shape[:2]

        def draw(*shape):
            return unwaited(torch.rand(*shape, generator=generator), self.device)

        rows = (draw(groups) * total).long()[:, None]
        columns = draw(groups, kept).argsort(1)[:, :views]
        rgb, depth, concept, pose, matrix = (self.tensors[name][rows, columns].flatten(0, 1) for name in _FIELDS)
        images = rgb.permute(0, 3, 1, 2).float() / 255
        depth, concept, matrix = depth.float(), concept.long(), matrix.clone()
        mirror = torch.eye(4, device=self.device)
        mirror[0, 0] = -1
        flipped = (draw(groups) < 0.5).repeat_interleave(views)
        width = images.shape[-1]
        images, depth, concept = (
            torch.where(flipped.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x) for x in (images, depth, concept)
        )
        pose = torch.where(flipped[:, None, None], mirror @ pose @ mirror, pose)
        matrix[:, 0, 2] = torch.where(flipped, width - 1 - matrix[:, 0, 2], matrix[:, 0, 2])
        if float(torch.rand((), generator=generator)) < 0.15:  # upright images are cut from wide ones
            start = int(torch.randint(0, width - 192, (), generator=generator)) if width > 192 else 0
            images, depth, concept = (x[..., start : start + 192] for x in (images, depth, concept))
            matrix[:, 0, 2] -= start
        one = draw(groups, views).argsort(1)
        other = (torch.arange(views, device=self.device) + 1) % views
        every = torch.stack([torch.stack([one, one[:, other]], -1), torch.stack([one[:, other], one], -1)], 1).flatten(
            1, 2
        )
        chosen = every[:, :pairs] + (torch.arange(groups, device=self.device) * views)[:, None, None]
        seed = int(torch.randint(0, 2**31, (), generator=generator))
        images = photometric(images, draw, seed) * 2 - 1
        return Batch(images, depth, concept, matrix, pose, chosen[..., 0].flatten(), chosen[..., 1].flatten())


def unwaited(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor brought from the CPU to a device; a GPU is not waited for, as a copy from memory that can be paged out would."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def photometric(x: Tensor, draw: Callable[..., Tensor], seed: int) -> Tensor:
    """Images (N,3,H,W) in [0, 1] with exposure, colour cast, contrast, blur, noise and vignetting of unknown cameras.

    draw: gives uniform random numbers of a shape; seed: of the noise.
    """
    n = len(x)

    def uniform(low, high, *shape):
        return low + (high - low) * draw(*(shape or (n, 1, 1, 1)))

    def sometimes(share, changed, plain):
        return torch.where(draw(n, 1, 1, 1) < share, changed, plain)

    small = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = sometimes(0.35, x + (small - x) * uniform(0.2, 1.0), x)
    streak = F.avg_pool2d(F.pad(x, (4, 4, 0, 0), mode="replicate"), (1, 9), 1)
    x = sometimes(0.12, streak, x)
    sharp = x + (x - F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)) * uniform(0.2, 1.2)
    x = sometimes(0.2, sharp, x).clamp(1e-4, 1)
    x = x ** uniform(0.6, 1.5) * uniform(0.65, 1.35) * uniform(0.85, 1.18, n, 3, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.45, 1.35)
    x = (x - 0.45) * uniform(0.75, 1.2) + 0.45 + uniform(-0.06, 0.06)
    h, w = x.shape[-2:]
    rows, columns = (torch.linspace(-1, 1, k, device=x.device) for k in (h, w))
    x = sometimes(0.3, x * (1 - uniform(0.1, 0.3) * (rows[:, None] ** 2 + columns**2)), x)
    noise = torch.randn(x.shape, device=x.device, generator=torch.Generator(x.device).manual_seed(seed))
    x = x + noise * uniform(0, 0.045) * x.clamp(0.05, 1).sqrt()
    coarse = F.interpolate(F.avg_pool2d(x, 2), size=(h, w), mode="bilinear", align_corners=False)
    return sometimes(0.12, coarse, x).clamp(0, 1)
