"""Ray casting of a room (Embree through embreex) into colour, depth, label and instance images."""

from dataclasses import dataclass

import numpy as np
from embreex import rtcore_scene
from embreex.mesh_construction import TriangleMesh

from sab3r_ros.synthetic.materials import surface_colour
from sab3r_ros.synthetic.rooms import Room


@dataclass
class View:
    """One rendered picture: rgb (H,W,3) uint8; depth (H,W) float32 metres along z, 0 = none; label (H,W)
    uint8 into LABELS; instance (H,W) int16 into the room's objects; cam2world (4,4); intrinsics (3,3)."""

    rgb: np.ndarray
    depth: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    cam2world: np.ndarray
    intrinsics: np.ndarray


class Renderer:
    """Casts rays into one room; reuse it for many views."""

    def __init__(self, room: Room):
        self.room = room
        self._scene = rtcore_scene.EmbreeScene()
        triangles = np.ascontiguousarray(room.vertices[room.faces], dtype=np.float32)
        self._mesh = TriangleMesh(self._scene, triangles)
        edges = triangles[:, 1:] - triangles[:, :1]
        normals = np.cross(edges[:, 0], edges[:, 1])
        self._normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)

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
        directions = rays @ cam2world[:3, :3].T
        origins = np.broadcast_to(cam2world[:3, 3], directions.shape)
        face, depth = self._cast(origins, directions)
        seen = face >= 0
        face = np.where(seen, face, 0)
        points = origins + directions * np.where(seen, depth, 0)[:, None]
        rgb = self._shade(points, directions, face)
        obj = self.room.part_object[self.room.face_part[face]]
        shape = (height, width)
        return View(
            rgb=(np.clip(np.where(seen[:, None], rgb, 0), 0, 1) * 255).astype(np.uint8).reshape(*shape, 3),
            depth=np.where(seen, depth, 0).astype(np.float32).reshape(shape),
            label=np.where(seen, self.room.object_label[obj], 255).astype(np.uint8).reshape(shape),
            instance=np.where(seen, obj, -1).astype(np.int16).reshape(shape),
            cam2world=np.asarray(cam2world, np.float64),
            intrinsics=np.asarray(intrinsics, np.float64),
        )

    def nearest(self, cam2world) -> float:
        """The distance in metres to the nearest surface in a coarse cone ahead of a camera."""
        grid = np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 8), np.linspace(-0.45, 0.45, 6)), -1).reshape(-1, 2)
        directions = np.column_stack([grid, np.ones(len(grid))]) @ cam2world[:3, :3].T
        _, depth = self._cast(np.broadcast_to(cam2world[:3, 3], directions.shape), directions)
        return float(depth.min())

    def _shade(self, points, directions, face):
        room = self.room
        part = room.face_part[face]
        normals = self._normals[face]
        normals = np.where((normals * directions).sum(-1, keepdims=True) > 0, -normals, normals)
        local = points - room.part_origin[part]
        c, s = np.cos(room.part_yaw[part]), np.sin(room.part_yaw[part])

        def unturn(v):
            return np.stack([c * v[:, 0] + s * v[:, 1], -s * v[:, 0] + c * v[:, 1], v[:, 2]], -1)

        albedo = surface_colour(room.materials, part, unturn(local), unturn(normals))
        light = np.full(len(points), room.ambient)
        lifted = points + normals * 1e-3
        for lamp in room.lights:
            to_lamp = lamp - lifted
            distance = np.linalg.norm(to_lamp, axis=-1)
            to_lamp /= distance[:, None]
            _, blocked = self._cast(lifted, to_lamp)
            lambert = np.clip((normals * to_lamp).sum(-1), 0, 1) * 1.6 / (1 + 0.15 * distance**2)
            light += np.where(blocked > distance - 1e-2, lambert * 0.5, 0)
        return albedo * light[:, None]
