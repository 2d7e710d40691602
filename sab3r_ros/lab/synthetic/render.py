"""Ray casting of a room (Embree through embreex) into colour, depth, label, instance and part images.

Light comes from lamps of some size, so that shadows are soft, and once more from what they light: one bounce, gathered on a
coarse grid and spread over pixels of the same surface. The little that is left comes from all over.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from sab3r_ros.lab.synthetic.materials import Palette
from sab3r_ros.lab.synthetic.objects import STRUCTURE
from sab3r_ros.lab.synthetic.rooms import Room, falloff


@dataclass
class View:
    """One rendered image: rgb (H,W,3) uint8; depth (H,W) float32 metres along z, 0 = none; label (H,W)
    uint8 into LABELS; instance (H,W) int16 into the room's objects; part (H,W) int16 into the room's parts;
    cam2world (4,4); intrinsics (3,3). Where nothing is hit, label is 255 and the others -1."""

    rgb: np.ndarray
    depth: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    part: np.ndarray
    cam2world: np.ndarray
    intrinsics: np.ndarray


_COARSE = 4  # pixels between the places where bounced light is gathered
_GATHERED = 10  # rays at each of them
_FURTHER_BOUNCES = 1.6  # how much more light there is than one bounce brings
_DISPLAY_GAMMA = 2.2


class Renderer:
    """Casts rays into one room; reuse it for many views, which then have one exposure."""

    def __init__(self, room: Room):
        self.room = room
        self._scene = rtcore_scene.EmbreeScene()
        self._triangles = np.ascontiguousarray(room.vertices[room.faces], dtype=np.float32)
        self._mesh = TriangleMesh(self._scene, self._triangles)
        edges = self._triangles[:, 1:] - self._triangles[:, :1]
        normals = np.cross(edges[:, 0], edges[:, 1])
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
        self._palette = Palette([p.material for p in room.parts])
        self._to_object = np.stack([o.rotation().T for o in room.objects])[room.part_object].astype(np.float32)
        self._origin = np.stack([o.position for o in room.objects])[room.part_object].astype(np.float32)
        self._label = room.part_label
        self._rng = np.random.default_rng([room.seed, 13])
        self._exposure: float | None = None

    def _cast(self, origins, directions):
        hit = self._scene.run(
            np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(directions, np.float32), output=True
        )
        return hit["primID"], hit["tfar"]

    def render(self, cam2world, intrinsics, width: int, height: int) -> View:
        """Render one view; depth is exact along the ray through each pixel's centre."""
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        pixels = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
        rays = pixels @ np.linalg.inv(intrinsics).T  # unit z, so the ray parameter is the depth
        directions = (rays @ cam2world[:3, :3].T).astype(np.float32)
        origins = np.broadcast_to(cam2world[:3, 3].astype(np.float32), directions.shape)
        face, depth = self._cast(origins, directions)
        seen = face >= 0
        face = np.where(seen, face, 0)
        points = origins + directions * np.where(seen, depth, np.float32(0))[:, None]
        rgb = self._shade(points, directions, face, seen, (height, width))
        part = self.room.face_part[face]
        obj = self.room.part_object[part]
        shape = (height, width)
        return View(
            rgb=rgb.reshape(*shape, 3),
            depth=np.where(seen, depth, 0).astype(np.float32).reshape(shape),
            label=np.where(seen, self._label[part], 255).astype(np.uint8).reshape(shape),
            instance=np.where(seen, obj, -1).astype(np.int16).reshape(shape),
            part=np.where(seen, part, -1).astype(np.int16).reshape(shape),
            cam2world=np.asarray(cam2world, np.float64),
            intrinsics=np.asarray(intrinsics, np.float64),
        )

    def visibility_probe(self, cam2world) -> tuple[float, float, int]:
        """A coarse look ahead: metres to the nearest surface, the share that is neither wall, floor nor ceiling, and
        how many objects are seen."""
        grid = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 12), np.linspace(-0.45, 0.45, 9)), -1).reshape(-1, 2)
        directions = np.column_stack([grid, np.ones(len(grid))]) @ cam2world[:3, :3].T
        face, depth = self._cast(np.broadcast_to(cam2world[:3, 3], directions.shape), directions)
        parts = self.room.face_part[face[face >= 0]]
        seen = self.room.part_object[parts[self._label[parts] >= len(STRUCTURE)]]
        return float(depth.min()), len(seen) / len(face), len(np.unique(seen))

    def _shade(self, points, directions, face, seen, shape):
        """Colours (N,3) uint8 of what the camera sees."""
        normals = self._facing(face, directions)
        part = self.room.face_part[face]
        albedo = self._albedo(points, face) ** _DISPLAY_GAMMA
        gloss = self._palette.gloss[part]
        mirrored = directions - 2 * (directions * normals).sum(-1, keepdims=True) * normals
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        light = 0.25 * self.room.ambient + self._bounced(points, normals, shape)
        light = light + 2 * self._palette.glow[part][:, None]
        light = light.astype(np.float32)
        highlight = np.zeros((len(points), 3), np.float32)
        for lamp in self.room.lights:
            direct, to_lamp = self._from_lamp(lamp, points, normals, shape)
            light += direct
            shine = np.clip((mirrored * to_lamp).sum(-1), 0, 1) ** 24
            highlight += 0.5 * (gloss * shine)[:, None] * (direct > 0) * lamp.colour
        rgb = np.where(seen[:, None], albedo * light + highlight, 0)
        if self._exposure is None:
            self._exposure = self._rng.uniform(0.35, 0.6) / max(float(np.percentile(rgb.mean(-1), 75)), 1e-3)
        rgb = 1 - np.exp(-1.3 * self._exposure * rgb)  # bright places saturate softly, as a sensor's curve lets them
        return (np.clip(rgb, 0, 1) ** (1 / _DISPLAY_GAMMA) * 255).astype(np.uint8)

    def _facing(self, face, directions):
        """Normals on the side from which the rays come."""
        normals = self._normals[face]
        return np.where((normals * directions).sum(-1, keepdims=True) > 0, -normals, normals)

    def _albedo(self, points, face):
        """Colours (N,3) of surface points: of the triangles themselves, or of their parts' materials."""
        part = self.room.face_part[face]
        own = self.room.face_colours
        plain = np.ones(len(face), bool) if own is None else own.texture[face] == -2
        out = np.empty((len(face), 3), np.float32)
        turn, away = self._to_object[part[plain]], points[plain] - self._origin[part[plain]]
        local = np.einsum("nij,nj->ni", turn, away)
        out[plain] = self._palette.colour(part[plain], local, np.einsum("nij,nj->ni", turn, self._normals[face[plain]]))
        if own is None:
            return np.clip(out, 0, 1)
        out[~plain] = own.colour[face[~plain]]
        for number in np.unique(own.texture[face]):
            if number >= 0:
                here = np.flatnonzero(own.texture[face] == number)
                out[here] = self._texel(own.textures[number], own.uv[face[here]], points[here], face[here])
        return np.clip(out, 0, 1)

    def _texel(self, texture, uv, points, face):
        """Colours of a texture (h,w,3) at points of triangles whose corners have these coordinates (N,3,2)."""
        corners = self._triangles[face].astype(float)
        one, two, offset = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], points - corners[:, 0]
        a, b, c = (one * one).sum(-1), (one * two).sum(-1), (two * two).sum(-1)
        d, e = (offset * one).sum(-1), (offset * two).sum(-1)
        scale = np.maximum(a * c - b * b, 1e-18)
        second, third = (c * d - b * e) / scale, (a * e - b * d) / scale
        weight = np.stack([1 - second - third, second, third], -1)
        at = (weight[..., None] * uv).sum(1) % 1.0
        height, width = texture.shape[:2]
        column = np.clip((at[:, 0] * width).astype(int), 0, width - 1)
        row = np.clip(((1 - at[:, 1]) * height).astype(int), 0, height - 1)
        return texture[row, column] / 255

    def _from_lamp(self, lamp, points, normals, shape=None):
        """Light (N,3) that arrives from a place drawn on the lamp for every point, and directions (N,3) to it.

        shape: of the image that the points fill; then what the random places leave as noise is smoothed.
        """
        lifted = points + normals * np.float32(1e-3)
        spot = self._rng.random(points.shape, np.float32) * 2 - 1
        to_lamp = np.asarray(lamp.position, np.float32) + spot * np.asarray(lamp.spread, np.float32) - lifted
        distance = np.linalg.norm(to_lamp, axis=-1)
        to_lamp /= distance[:, None]
        _, blocked = self._cast(lifted, to_lamp)
        lit = (blocked > distance - 1e-2).astype(np.float32)
        if shape is not None and lamp.spread.any():
            lit = cv2.blur(lit.reshape(shape), (5, 5)).reshape(-1)
        facing = np.clip(np.einsum("ni,ni->n", normals, to_lamp), 0, 1)
        return (facing * lit * falloff(distance))[:, None] * np.asarray(lamp.colour, np.float32), to_lamp

    def _bounced(self, points, normals, shape):
        """Light (N,3) that arrives from lit surfaces around, for the pixels of an image."""
        height, width = shape
        grid = np.arange(height * width).reshape(shape)[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
        at, up = points[grid].reshape(-1, 3), normals[grid].reshape(-1, 3)
        start = np.repeat(at + up * 1e-3, _GATHERED, 0)
        spread = self._rng.standard_normal(start.shape, np.float32)
        outwards = np.repeat(up, _GATHERED, 0) + spread / np.linalg.norm(spread, axis=-1, keepdims=True)
        outwards /= np.maximum(np.linalg.norm(outwards, axis=-1, keepdims=True), 1e-6)
        face, distance = self._cast(start, outwards)
        hit = face >= 0
        face, places = face[hit], (start + outwards * np.where(hit, distance, np.float32(0))[:, None])[hit]
        lamp = self.room.lights[self._rng.integers(len(self.room.lights))]
        back = self._facing(face, outwards[hit])
        share = sum(light.colour.sum() for light in self.room.lights) / lamp.colour.sum()
        lit = self._from_lamp(lamp, places, back)[0] * share + 0.25 * self.room.ambient
        lit += self._palette.glow[self.room.face_part[face]][:, None]
        came = np.zeros((len(start), 3), np.float32)
        came[hit] = self._albedo(places, face) ** _DISPLAY_GAMMA * lit
        coarse = _FURTHER_BOUNCES * came.reshape(len(at), _GATHERED, 3).mean(1)
        return _spread(
            coarse.reshape(*grid.shape, 3),
            up.reshape(*grid.shape, 3),
            at.reshape(*grid.shape, 3),
            points,
            normals,
            shape,
        )


def _spread(coarse, coarse_normals, coarse_points, points, normals, shape):
    """Values on a coarse grid brought to all pixels, from grid places on the same surface as far as there are any."""
    coarse, coarse_normals, coarse_points, points, normals = (
        np.asarray(a, np.float32) for a in (coarse, coarse_normals, coarse_points, points, normals)
    )
    rows, columns = coarse.shape[:2]
    y, x = np.divmod(np.arange(rows * columns), columns)
    flat = coarse_normals.reshape(-1, 3), coarse_points.reshape(-1, 3)
    coarse = _gather(coarse, coarse_normals, coarse_points, *flat[::-1], y, x, range(-2, 3)).reshape(coarse.shape)
    y, x = np.divmod(np.arange(shape[0] * shape[1], dtype=np.int32), shape[1])
    y, x = (y - _COARSE // 2) / np.float32(_COARSE), (x - _COARSE // 2) / np.float32(_COARSE)
    return _gather(coarse, coarse_normals, coarse_points, points, normals, y, x, range(2))


def _gather(coarse, coarse_normals, coarse_points, points, normals, y, x, steps):
    """Means of grid values around places (y, x) of the grid, weighted by nearness, direction and distance from the surface."""
    rows, columns = coarse.shape[:2]
    base_row, base_column = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    total, value = np.full(len(points), 1e-6, np.float32), np.zeros((len(points), 3), np.float32)
    value += 1e-6 * coarse[base_row.clip(0, rows - 1), base_column.clip(0, columns - 1)]
    for row in steps:
        for column in steps:
            r, c = (base_row + row).clip(0, rows - 1), (base_column + column).clip(0, columns - 1)
            near = np.exp(-((y - r) ** 2 + (x - c) ** 2) / 2)
            turned = np.einsum("ni,ni->n", normals, coarse_normals[r, c]).clip(0, 1) ** 4
            apart = np.abs(np.einsum("ni,ni->n", points - coarse_points[r, c], normals))
            weight = near * turned * np.exp(-20 * apart)
            total += weight
            value += weight[:, None] * coarse[r, c]
    return value / total[:, None]
