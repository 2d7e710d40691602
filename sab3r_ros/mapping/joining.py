"""Joining a saved map to the one in the mapper: by one similarity, from places that both have seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sab3r_ros.geometry.sim3 import fit_sim3_robust, make_sim3, rigid_part, rotation_angle, transform_points
from sab3r_ros.mapping.map_file import MapFile, MapFileError
from sab3r_ros.mapping.mapper import Mapper
from sab3r_ros.mapping.scene import KeyframeVoxels
from sab3r_ros.mapping.state import typical_focal
from sab3r_ros.types import Keyframe, PoseEstimate

_TRIED = 40  # keyframes that are looked for, those first that look most like one of the other map
_AGREEING, _ENOUGH = 3, 8  # places that must agree, and from which on no more are looked for
_OTHERS = 0.5  # of these, how many may agree on another similarity
_FAR, _FAR_PER_METRE = 0.25, 0.08  # metres, and metres a metre between two places: both maps drift
_TURNED = np.radians(12.0)
_AHEAD = 2.0  # metres
_SAME_LENS = 0.05  # of the focal length


class PlaceNotRecognised(MapFileError):
    """No place of a saved map was recognised in the other; nothing was joined."""


@dataclass(frozen=True)
class Join:
    """How a saved map was joined: anchor (4,4), a similarity from it to the present map; how many of the places that were
    tried were recognised, and how many of those agree; same_camera: keyframes of both can be adjusted together."""

    anchor: Tensor
    tried: int
    recognised: int
    agree: int
    same_camera: bool = True


def find_join(mapper: Mapper, content: MapFile, keyframes: Sequence[Keyframe]) -> Join:
    """Where a saved map, whose keyframes are given with tokens or descriptors of the mapper's model, lies in the present one.

    A wrong join destroys both maps: at least three keyframes must be recognised at places that fit each other, and twice as many
    as fit any other similarity. Raises PlaceNotRecognised.
    """
    with mapper.lock:
        mine = mapper.state.graph.keyframes
    found: list[tuple[Keyframe, Tensor]] = []
    best: list[int] = []
    tried = 0
    for keyframe in _most_alike(keyframes, mine)[:_TRIED]:
        tried += 1
        estimate = mapper.recognise(keyframe)
        if estimate is None:
            continue
        found.append((keyframe, _anchor_of(keyframe, estimate)))
        best = _largest_agreement(found)
        if len(best) >= _ENOUGH:
            break
    others = [entry for n, entry in enumerate(found) if n not in best]
    rivals = len(_largest_agreement(others))
    least = min(_AGREEING, len(keyframes), len(mine))
    if len(best) < least or rivals > _OTHERS * len(best):
        raise PlaceNotRecognised(
            f"no place of {content.path} was recognised for sure in the other map ({len(found)} of {tried} keyframes found, "
            f"{len(best)} agree, {least} are needed): record a part that both have seen"
        )
    anchor = _joint([found[n] for n in best])
    return Join(anchor, tried, len(found), len(best), _same_camera(mapper, content, keyframes))


def _most_alike(keyframes: Sequence[Keyframe], mine: Sequence[Keyframe]) -> list[Keyframe]:
    """Keyframes in the order of how much each looks like one of the map's."""
    theirs, ours = (torch.stack([k.descriptor.cpu() for k in some]) for some in (keyframes, mine))
    order = (theirs @ ours.T).amax(1).argsort(descending=True, stable=True)
    return [keyframes[i] for i in order.tolist()]


def _anchor_of(keyframe: Keyframe, estimate: PoseEstimate) -> Tensor:
    """The similarity (4,4) between maps that a keyframe's pose in one, and an estimate of it in the other, tell.

    The estimate's points are in another unit than the keyframe's; the median ratio of depths tells which.
    """
    ratio = (estimate.points[..., 2].cpu() / keyframe.points[..., 2].float().cpu().clamp(min=1e-3)).median().double()
    unit = make_sim3(float(ratio), torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    return estimate.pose.cpu().double() @ unit @ torch.linalg.inv(keyframe.pose.cpu().double())


def _largest_agreement(found: Sequence[tuple[Keyframe, Tensor]]) -> list[int]:
    """Numbers of the entries that agree with the one that most agree with."""
    agree = [[n for n, other in enumerate(found) if _agree(entry, other)] for entry in found]
    return max(agree, key=len, default=[])


def _agree(a: tuple[Keyframe, Tensor], b: tuple[Keyframe, Tensor]) -> bool:
    """Whether two anchors put both keyframes to nearly the same places."""
    (one, first), (other, second) = a, b
    centres = torch.stack([k.pose.cpu().double()[:3, 3] for k in (one, other)])
    apart = float((transform_points(first, centres) - transform_points(second, centres)).norm(dim=1).max())
    limit = _FAR + _FAR_PER_METRE * float((centres[0] - centres[1]).norm())
    turn = rigid_part(first)[:3, :3].T @ rigid_part(second)[:3, :3]
    angle = rotation_angle(turn)
    return apart < limit and angle < _TURNED


def _joint(found: Sequence[tuple[Keyframe, Tensor]]) -> Tensor:
    """The similarity (4,4) over all entries: of their cameras' places and what is ahead of each."""
    source, target = [], []
    for keyframe, anchor in found:
        pose = rigid_part(keyframe.pose.cpu().double())
        ahead = torch.tensor([[0, 0, 0], [0, 0, _AHEAD], [_AHEAD / 2, 0, _AHEAD], [0, _AHEAD / 2, _AHEAD]]).double()
        places = transform_points(pose, ahead)
        source.append(places)
        target.append(transform_points(anchor, places))
    moved, kept = torch.cat(target), torch.cat(source)
    sigma = torch.full((len(kept),), _FAR, dtype=torch.float64)
    return fit_sim3_robust(kept, moved, torch.ones(len(kept), dtype=torch.float64), sigma)[0]


def _same_camera(mapper: Mapper, content: MapFile, keyframes: Sequence[Keyframe]) -> bool:
    """Whether both maps' keyframes were taken with the same focal length and have images of one size."""
    with mapper.lock:
        lens, mine = mapper.state.lens, mapper.state.graph.keyframes
    if mine[-1].points.shape != keyframes[-1].points.shape:
        return False
    theirs = content.lens[0]
    focals = [
        lens.pinhole_focal if lens is not None else typical_focal(mine),
        theirs.pinhole_focal if theirs is not None else typical_focal(keyframes),
    ]
    return abs(float(np.log(focals[0] / focals[1]))) < _SAME_LENS


def moved_by(content: MapFile, keyframes: Sequence[Keyframe], join: Join, first_id: int, session: int) -> MapFile:
    """A saved map in the frame of another: keyframes renumbered from `first_id`, sessions from `session`.

    Keyframes of another camera lose their keypoints, by which they would be adjusted with the others.
    """
    anchor = join.anchor
    renumbered = {k.id: first_id + n for n, k in enumerate(keyframes)}

    def pose_of(pose: Tensor) -> Tensor:
        return anchor.to(pose) @ pose

    def part_of(part: KeyframeVoxels) -> KeyframeVoxels:
        xyz = transform_points(anchor.float(), part.xyz)
        return replace(part, keyframe=renumbered[part.keyframe], pose=pose_of(part.pose), xyz=xyz)

    return replace(
        content,
        snapshot=replace(content.snapshot, xyz=transform_points(anchor.float(), content.snapshot.column("xyz"))),
        contributions=[part_of(p) for p in content.contributions if p.keyframe in renumbered],
        keyframes=[
            replace(
                k, id=renumbered[k.id], pose=pose_of(k.pose), session=session + k.session,
                keypoints=k.keypoints if join.same_camera else None,
            )
            for k in keyframes
        ],
        edges=[
            replace(e, source=renumbered[e.source], target=renumbered[e.target])
            for e in content.edges
            if e.source in renumbered and e.target in renumbered
        ],
        trajectory=[
            (stamp, rigid_part(pose_of(torch.from_numpy(pose).double())).numpy()) for stamp, pose in content.trajectory
        ],
        beside=[renumbered.get(k, first_id) for k in content.beside],
        sightings=[
            None if s is None or not join.same_camera
            else replace(s, keyframe=np.array([renumbered.get(k, -1) for k in s.keyframe.tolist()], np.int32))
            for s in content.sightings
        ],
    )  # fmt: skip
