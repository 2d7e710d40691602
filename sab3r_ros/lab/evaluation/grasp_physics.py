"""Grasps tried in MuJoCo: does the thing come up, and stay in the gripper when it is shaken?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sab3r_ros.affordance.grasps import Grasp, Gripper
from sab3r_ros.affordance.hand_fitting import PALM_DEPTH

_FORCE = 20.0  # newtons a finger
_FRICTION, _TABLE_FRICTION = 0.7, 0.6
_EXTRA_OPENING = 0.01  # metres beyond the grasp's width
_APPROACH, _LIFT = 0.1, 0.12  # metres
_INTO_TABLE = 0.002  # metres that a part of the gripper may be below the table
_STEP, _FINE_STEP = 0.002, 0.001  # seconds; light things slip from between stiff contacts with the longer one
_LIGHT = 0.05  # kg
_INTO_NEIGHBOUR = 0.002  # metres that a part of the open gripper may be inside another object
_SURFACE = 4000  # points of another object's surface that tell it


@dataclass(frozen=True)
class Body:
    """An object as it stands on a table at z = 0.

    vertices (V,3) metres, faces (F,3); hulls: convex parts (vertices, faces) for contacts; mass in kg. All in the world.
    affording: by the name of an affordance which faces (F,) afford it, where that is known.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    hulls: list[np.ndarray]
    mass: float
    affording: dict[str, np.ndarray] = field(default_factory=dict)


def placed(item: Body, rotation: np.ndarray, offset: np.ndarray, scale: float = 1.0) -> Body:
    """A body turned (3,3), scaled and then shifted (3,); its mass stays."""

    def moved(points: np.ndarray) -> np.ndarray:
        return points @ rotation.T * scale + offset

    return replace(item, vertices=moved(item.vertices), hulls=[moved(hull) for hull in item.hulls])


@dataclass(frozen=True)
class Outcome:
    """lifted: it came up and stayed; reason: "" or what went wrong."""

    lifted: bool
    reason: str


def read_body(path: Path) -> Body:
    """An object of a folder of .npz files with vertices, faces, convex parts, mass and resting pose. Raises ValueError."""
    try:
        with np.load(path) as data:
            x, y, z, *quaternion = data["rest"].astype(float)
            rest = np.eye(4)
            w, *vector = quaternion
            rest[:3, :3] = Rotation.from_quat([*vector, w]).as_matrix()
            rest[:3, 3] = x, y, z
            placed = data["vertices"].astype(float) @ rest[:3, :3].T + rest[:3, 3]
            ends = np.cumsum(data["hull_vertex_count"])
            corners = data["hull_vertices"].astype(float) @ rest[:3, :3].T + rest[:3, 3]
            hulls = [corners[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
            return Body(path.stem, placed, data["faces"].astype(int), hulls, float(data["mass"]))
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no object for the bench: {error}") from error


def gripper_boxes(gripper: Gripper, opening: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Middle (3,) and half sizes (3,) of palm, left and right finger in the frame of a grasp's pose, metres."""
    palm = np.array([gripper.finger_width, gripper.palm_width / 2, PALM_DEPTH / 2])
    finger = np.array([gripper.finger_width, gripper.finger_thickness, gripper.finger_length]) / 2
    out = [(np.array([0, 0, -gripper.palm_reach - PALM_DEPTH / 2]), palm)]
    for side in (-1, 1):
        middle = np.array([0, side * (opening + gripper.finger_thickness) / 2, -gripper.finger_length / 2])
        out.append((middle, finger))
    return out


def lowest_point(pose: np.ndarray, gripper: Gripper, opening: float) -> float:
    """Height in metres of the lowest corner of an open gripper at a grasp's pose (4,4)."""
    lowest = np.inf
    for middle, half in gripper_boxes(gripper, opening):
        lowest = min(lowest, pose[2, 3] + pose[2, :3] @ middle - np.abs(pose[2, :3]) @ half)
    return float(lowest)


def enters(item: Body, pose: np.ndarray, gripper: Gripper, opening: float) -> bool:
    """Whether an open gripper at a grasp's pose (4,4) is more than 2 mm inside an object."""
    import trimesh

    mesh = trimesh.Trimesh(item.vertices, item.faces, process=False)
    points, _ = trimesh.sample.sample_surface(mesh, _SURFACE, seed=0)
    own = (np.asarray(points) - pose[:3, 3]) @ pose[:3, :3]
    boxes = gripper_boxes(gripper, opening)
    return any((np.abs(own - middle) < half - _INTO_NEIGHBOUR).all(1).any() for middle, half in boxes)


def try_grasp(item: Body, grasp: Grasp, gripper: Gripper, others: Sequence[Body] = ()) -> Outcome:
    """Approach, close, lift, shake, hold; others: what stands beside the object."""
    import mujoco

    if grasp.width > gripper.max_width:
        return Outcome(False, "wider than the gripper")
    opening = min(grasp.width + _EXTRA_OPENING, gripper.max_width + _EXTRA_OPENING)
    if lowest_point(grasp.pose, gripper, opening) < -_INTO_TABLE:
        return Outcome(False, "enters the table")
    if any(enters(other, grasp.pose, gripper, opening) for other in others):
        return Outcome(False, "enters a neighbour")
    bodies = [item, *others]
    model = mujoco.MjModel.from_xml_string(_world(bodies, gripper, opening), _assets(bodies))
    data = mujoco.MjData(model)
    start = grasp.pose @ _along(-_APPROACH)
    _place(data, start)
    mujoco.mj_forward(model, data)
    thing, hand = model.body("thing0").id, model.body("hand").id
    _move(mujoco, model, data, start, start, 0.1, -_FORCE / 4)
    rested = data.xpos[thing].copy()
    _move(mujoco, model, data, start, grasp.pose, 0.6, -_FORCE / 4)
    if np.linalg.norm(data.xpos[thing] - rested) > 0.03:
        return Outcome(False, "pushed away")
    _move(mujoco, model, data, grasp.pose, grasp.pose, 0.5, _FORCE)
    up = grasp.pose.copy()
    up[2, 3] += _LIFT
    _move(mujoco, model, data, grasp.pose, up, 0.8, _FORCE)
    if data.xpos[thing][2] - rested[2] < _LIFT / 2:
        return Outcome(False, "not lifted")
    held = data.xpos[thing] - data.xpos[hand]
    before = up
    for k in range(8):  # a second of shaking
        aside = up.copy()
        aside[:2, 3] += 0.01 * (1 if k % 2 else -1) * np.array([1.0, 1.0])
        _move(mujoco, model, data, before, aside, 0.125, _FORCE)
        before = aside
    _move(mujoco, model, data, before, up, 0.5, _FORCE)
    lost = data.xpos[thing][2] - rested[2] < _LIFT / 2
    slipped = np.linalg.norm(data.xpos[thing] - data.xpos[hand] - held) > 0.06
    return Outcome(not (lost or slipped), "lost while shaken" if lost or slipped else "")


def _along(distance: float) -> np.ndarray:
    out = np.eye(4)
    out[2, 3] = distance
    return out


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return np.array([w, x, y, z])


def _place(data, pose: np.ndarray) -> None:
    data.mocap_pos[0], data.mocap_quat[0] = pose[:3, 3], _quaternion(pose[:3, :3])
    # The hand's seven numbers come before its two fingers', which are the last ones.
    data.qpos[-9:-6], data.qpos[-6:-2] = pose[:3, 3], _quaternion(pose[:3, :3])


def _move(mujoco, model, data, start, end, seconds: float, force: float) -> None:
    """Carry the hand from one pose to another of the same orientation; force closes the fingers, negative opens them."""
    steps = round(seconds / model.opt.timestep)
    data.ctrl[:] = force
    for k in range(steps):
        share = (k + 1) / steps
        data.mocap_pos[0] = (1 - share) * start[:3, 3] + share * end[:3, 3]
        mujoco.mj_step(model, data)


def _assets(bodies: Sequence[Body]) -> dict[str, bytes]:
    """The convex parts of all bodies as OBJ files."""
    import trimesh

    out = {}
    for k, corners in enumerate(hull for item in bodies for hull in item.hulls):
        hull = trimesh.convex.convex_hull(corners)
        lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in hull.vertices]
        lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in hull.faces]
        out[f"part{k}.obj"] = "\n".join(lines).encode()
    return out


def _numbers(values) -> str:
    return " ".join(f"{v:.6f}" for v in np.asarray(values, float).ravel())


def _things(bodies: Sequence[Body]) -> str:
    """The objects, thing0 and what stands beside it, of parts that are numbered through. The others do not give way: stricter than
    a table is, and a hundred times faster where they have a hundred parts."""
    out, count = [], 0
    for number, item in enumerate(bodies):
        volumes = np.array([max(_volume(h), 1e-9) for h in item.hulls])
        parts = "".join(
            f'<geom type="mesh" mesh="part{count + k}" mass="{m:.6f}" friction="{_FRICTION} 0.005 0.0001" condim="4"/>'
            for k, m in enumerate(item.mass * volumes / volumes.sum())
        )
        free = "" if number else "<freejoint/>"
        out.append(f'<body name="thing{number}" pos="0 0 0.0005">{free}{parts}</body>')
        count += len(item.hulls)
    return "".join(out)


def _world(bodies: Sequence[Body], gripper: Gripper, opening: float) -> str:
    """The scene in MuJoCo's XML: a table, objects, and a hand that follows a pose and closes with a force."""
    count = sum(len(item.hulls) for item in bodies)
    meshes = "".join(f'<mesh name="part{k}" file="part{k}.obj"/>' for k in range(count))
    palm, left, right = gripper_boxes(gripper, opening)
    travel = opening / 2 + 0.002

    def finger(name, box, axis):
        return (
            f'<body name="{name}" pos="{_numbers(box[0])}"><joint name="{name}" type="slide" axis="0 {axis} 0" range="0 {travel:.4f}" '
            f'limited="true" damping="20"/><geom type="box" size="{_numbers(box[1])}" mass="0.05" friction="{_FRICTION} 0.005 0.0001" '
            'condim="4"/></body>'
        )

    return f"""
<mujoco>
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{_FINE_STEP if bodies[0].mass < _LIGHT else _STEP}" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="3"/>
  <asset>{meshes}</asset>
  <worldbody>
    <geom name="table" type="plane" size="2 2 0.1" friction="{_TABLE_FRICTION} 0.005 0.0001"/>
    {_things(bodies)}
    <body name="hand" gravcomp="1"><freejoint/>
      <geom type="box" pos="{_numbers(palm[0])}" size="{_numbers(palm[1])}" mass="0.5"/>
      {finger("left", left, 1)}{finger("right", right, -1)}
    </body>
    <body name="guide" mocap="true"/>
  </worldbody>
  <equality><weld body1="guide" body2="hand" solref="0.01 1" solimp="0.95 0.99 0.001"/></equality>
  <contact><exclude body1="hand" body2="left"/><exclude body1="hand" body2="right"/></contact>
  <actuator><motor joint="left" gear="1"/><motor joint="right" gear="1"/></actuator>
</mujoco>"""


def _volume(corners: np.ndarray) -> float:
    import trimesh

    return float(trimesh.convex.convex_hull(corners).volume)
