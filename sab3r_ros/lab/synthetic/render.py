"""Ray casting of a room (Embree through embreex) into colour, depth, label, instance and part images."""

from dataclasses import dataclass

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
        self._palette = Palette([p.material for p in room.parts])
        self._to_object = np.stack([o.rotation().T for o in room.objects])[room.part_object]
        self._origin = np.stack([o.position for o in room.objects])[room.part_object]
        self._label = room.object_label

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
        part = self.room.face_part[face]
        obj = self.room.part_object[part]
        shape = (height, width)
        return View(
            rgb=(np.clip(np.where(seen[:, None], rgb, 0), 0, 1) * 255).astype(np.uint8).reshape(*shape, 3),
            depth=np.where(seen, depth, 0).astype(np.float32).reshape(shape),
            label=np.where(seen, self._label[obj], 255).astype(np.uint8).reshape(shape),
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
        seen = self.room.part_object[self.room.face_part[face[face >= 0]]]
        seen = seen[self._label[seen] >= len(STRUCTURE)]
        return float(depth.min()), len(seen) / len(face), len(np.unique(seen))

    def _shade(self, points, directions, face):
        room = self.room
        part = room.face_part[face]
        normals = self._normals[face]
        normals = np.where((normals * directions).sum(-1, keepdims=True) > 0, -normals, normals)
        turn = self._to_object[part]
        local = np.einsum("nij,nj->ni", turn, points - self._origin[part])
        albedo = self._palette.colour(part, local, np.einsum("nij,nj->ni", turn, normals))
        gloss = self._palette.gloss[part]
        light = room.ambient + self._palette.glow[part][:, None]
        highlight = np.zeros((len(points), 3))
        mirrored = directions - 2 * (directions * normals).sum(-1, keepdims=True) * normals
        mirrored /= np.linalg.norm(mirrored, axis=-1, keepdims=True)
        lifted = points + normals * 1e-3
        for lamp in room.lights:
            to_lamp = lamp.position - lifted
            distance = np.linalg.norm(to_lamp, axis=-1)
            to_lamp /= distance[:, None]
            _, blocked = self._cast(lifted, to_lamp)
            lit = np.where(blocked > distance - 1e-2, falloff(distance), 0)
            light = light + (np.clip((normals * to_lamp).sum(-1), 0, 1) * lit)[:, None] * lamp.colour
            shine = np.clip((mirrored * to_lamp).sum(-1), 0, 1) ** 24
            highlight += (gloss * shine * lit)[:, None] * lamp.colour
        return albedo * light + highlight
