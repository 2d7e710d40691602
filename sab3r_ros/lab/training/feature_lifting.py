"""2D features on the points of an object, from images around it (arXiv 2510.08316, stage 0)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sab3r_ros.lab.synthetic.clouds import ObjectSampler
from sab3r_ros.lab.synthetic.object_renderer import Studio, directions_around
from sab3r_ros.lab.synthetic.objects import BUILDERS, build_object
from sab3r_ros.lab.synthetic.render import View
from sab3r_ros.lab.synthetic.rooms import check_training_seeds
from sab3r_ros.lab.training import array_folder
from sab3r_ros.lab.training.dinov2 import DinoV2
from sab3r_ros.models.heads import PATCH
from sab3r_ros.models.patches import imagenet_normalised
from sab3r_ros.models.sab3r import Sab3r

VIEWS = 12  # the paper's
POINTS = 1024
_SIZE = (128, 96)  # width, height; what the tiny network was trained on
_TOLERANCE = 0.03  # of the object's radius: between a point's depth and what an image's nearest pixel shows

Teacher = Callable[[Tensor], Tensor]
"""Images in [-1, 1] (V,3,H,W) to a grid of features (V,E,h,w) that covers them."""


def sab3r_teacher(network: Sab3r) -> Teacher:
    """The encoder's tokens: what SAB3R itself sees in an image."""

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        encoded = network.encode(images)
        grid = tuple(side // PATCH for side in images.shape[-2:])
        return encoded.tokens.transpose(1, 2).unflatten(-1, grid)

    return features


def dino_teacher(backbone: DinoV2, enlarge: int = 4) -> Teacher:
    """DINOv2's tokens of images that are enlarged first, so that a token covers a small part."""

    def features(images: Tensor) -> Tensor:
        size = tuple(side * enlarge // backbone.patch * backbone.patch for side in images.shape[-2:])
        return backbone(imagenet_normalised(F.interpolate(images, size, mode="bilinear", antialias=True)))

    return features


def project(points: np.ndarray, view: View, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N,3) lie in an image, pixels (N,2), and which of them it sees (N,) bool.

    A point is seen when it lies in the image and its depth is within `tolerance` metres of the image's there.
    """
    to_camera = np.linalg.inv(view.cam2world)
    local = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    depth = local[:, 2]
    pixels = (local @ view.intrinsics.T)[:, :2] / np.maximum(depth, 1e-9)[:, None]
    height, width = view.depth.shape
    inside = (depth > 0) & (pixels > -0.5).all(1) & (pixels < np.array([width, height]) - 0.5).all(1)
    u, v = (pixels.round().clip(0, [width - 1, height - 1]).astype(int)).T
    reading = view.depth[v, u]
    return pixels, inside & (reading > 0) & (np.abs(reading - depth) <= tolerance)


def lifted(grid: Tensor, pixels: Tensor, seen: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over the views that see a point of the features at its pixel; 0 where none does.

    grid (V,E,h,w) features, pixels (V,N,2), seen (V,N) bool, size (width, height) of the images; to (N,E).
    """
    scale = 2 / torch.tensor(size, dtype=pixels.dtype)
    places = (pixels + 0.5) * scale - 1
    sampled = F.grid_sample(
        grid.float(), places[:, None].float(), mode="bilinear", align_corners=False, padding_mode="border"
    )
    weight = seen.float()
    total = torch.einsum("ven,vn->ne", sampled[:, :, 0], weight)
    return total / weight.sum(0).clamp(min=1)[:, None]


class ShapesWithImages(Dataset):
    """Whole household objects with images around them.

    Yields a dict: points (POINTS,3) metres; images (VIEWS,3,H,W) in [-1, 1]; pixels (VIEWS,POINTS,2); seen
    (VIEWS,POINTS). Object k is always the same; none is one of the held-out seeds.
    """

    def __init__(self, indices: list[int], first_seed: int = 0):
        check_training_seeds(first_seed, max(indices, default=-1) + 1, "objects")
        self.indices, self.first_seed = indices, first_seed

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, k):
        rng = np.random.default_rng([self.first_seed + self.indices[k], 53])
        item = build_object(tuple(BUILDERS)[rng.integers(len(BUILDERS))], rng)
        points = ObjectSampler(item).whole(POINTS, rng).points
        studio = Studio(item, rng)
        views = [studio.view(direction, *_SIZE) for direction in directions_around(VIEWS, rng)]
        pixels, seen = zip(*(project(points, v, _TOLERANCE * studio.radius) for v in views), strict=True)
        images = np.stack([v.rgb for v in views]).transpose(0, 3, 1, 2)
        return {
            "points": torch.from_numpy(points),
            "images": torch.from_numpy(images).float() / 127.5 - 1,
            "pixels": torch.from_numpy(np.stack(pixels)),
            "seen": torch.from_numpy(np.stack(seen)),
        }


def lift_shapes(
    folder: Path, count: int, teacher: Teacher, workers: int = 1, report: Callable[[], None] = lambda: None
) -> None:
    """Write `count` household objects with lifted features into FOLDER; an interrupted run goes on where it stopped.

    Raises ValueError when FOLDER was begun with another count.
    """
    width = teacher(torch.zeros(1, 3, _SIZE[1], _SIZE[0])).shape[1]
    fields = {"points": (np.float32, (POINTS, 3)), "features": (np.float16, (POINTS, width))}
    shapes = ShapesWithImages(array_folder.begin(folder, fields, count))
    loader = DataLoader(shapes, batch_size=None, num_workers=workers)
    for index, sample in zip(shapes.indices, loader, strict=True):
        features = lifted(teacher(sample["images"]), sample["pixels"], sample["seen"], _SIZE)
        array_folder.write(folder, index, {"points": sample["points"].numpy(), "features": features.numpy()})
        report()
