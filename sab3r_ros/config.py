"""Every setting of the system: its type, default, range and meaning, once.

The command line, the YAML files, the launch files and the ROS parameters all come from these classes; dotted
names such as `window.size` are the same everywhere.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

log = logging.getLogger(__name__)

# Settings that were renamed: old files and command lines go on working, with a line that names the new one.
RENAMED = {
    "map.feature_pieces": "map.superpixel_pooling",
    "map.first_pitch": "camera.pitch",
    "map.first_roll": "camera.roll",
    "tracking.keypoints": "tracking.max_keypoints",
    "tracking.max_disorder": "tracking.max_stamp_disorder",
    "tracking.ray_residual": "tracking.descriptor_sigma",
    "tracking.relative_residual": "tracking.depth_sigma",
    "window.symmetric": "window.symmetric_pairs",
}

# Settings that are no more: old files and command lines go on working, with a line that says why.
RETIRED = {"query.min_object_score": "query.min_score is a probability now, of the object as a whole"}


def current_name(name: str) -> str:
    """A setting's present name; says so where it was renamed."""
    if name in RENAMED:
        log.warning("%s is called %s now", name, RENAMED[name])
    return RENAMED.get(name, name)


class Group(BaseModel):
    """A set of related settings; unknown names and values out of range are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(Group):
    """Which network runs, and how."""

    checkpoint: str = Field(
        "sab3r_small", description="A path, a known name (see `sab3r models`) or a hub name owner/model"
    )
    features: str = Field(
        "",
        description="Text-aligned features: empty = those of the checkpoint, none, maskclip (beside any geometry) or a folder with its files",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="auto, cpu, cuda or cuda:N; auto takes a GPU where there is one",
    )
    image_size: int = Field(
        0,
        ge=0,
        le=2048,
        description="Long side of the network's input in pixels, a multiple of the patch; 0 = the size the checkpoint was trained for",
    )
    half_precision: bool = Field(True, description="bfloat16 in encoder and decoder on a GPU (heads stay float32)")
    threads: int = Field(0, ge=0, le=256, description="CPU threads of the network; 0 = all")
    runtime: str = Field(
        "auto",
        pattern=r"^(auto|torch|openvino)$",
        description="What runs the network on a CPU: torch; openvino (exported at the first image, extra [openvino]); auto: an export of `sab3r export-model` where there is one",
    )


class CameraSettings(Group):
    """How the camera is mounted."""

    pitch: float = Field(
        0.0, ge=-1.6, le=1.6, description="Downward tilt of the first camera in radians; makes the map z-up"
    )
    roll: float = Field(
        0.0,
        ge=-3.2,
        le=3.2,
        description="Roll of the first camera about its viewing direction in radians, clockwise positive",
    )
    height: float = Field(
        0.0,
        ge=0.0,
        le=100.0,
        description="Height of the camera above the floor in metres, where that stays the same: then the map takes its unit from there; 0 = not known",
    )
    find_up: bool = Field(
        True,
        description="Where neither pitch, roll nor TF says how the camera is mounted: turn the map once, when floors, tables and walls show which way is up",
    )


class WindowSettings(Group):
    """Which frames are compared with the newest one."""

    size: int = Field(3, ge=1, le=16, description="Keyframes the newest frame is decoded against")
    keyframe_overlap: float = Field(
        0.9,
        ge=0.0,
        le=1.0,
        description="A frame that shares less than this with every keyframe of the window becomes a keyframe",
    )
    kept_keyframes: int = Field(
        40,
        ge=1,
        le=1000,
        description="Newest keyframes whose tokens stay in memory; older ones are encoded again when they are needed",
    )
    max_keyframes: int = Field(
        1000,
        ge=0,
        description="Most keyframes of the map: of those that see the same the older ones are let go, what they saw stays; 0 = no limit (2 MB each)",
    )
    one_first: bool = Field(
        True,
        description="Decode a frame against the newest keyframe first, and against the others only where it agrees badly with that one; a GPU decodes all at once",
    )
    symmetric_pairs: bool = Field(
        False,
        description="Decode every pair in both orders: twice the time, more correspondences where descriptors are not matched",
    )


class TrackingSettings(Group):
    """How a frame's pose is found, and when it counts as lost."""

    depth_sigma: float = Field(
        0.1,
        gt=0.0,
        le=1.0,
        description="Standard deviation of a predicted point, relative to its depth: where a correspondence's influence has fallen to a quarter",
    )
    min_inliers: float = Field(
        0.2, ge=0.0, le=1.0, description="Smallest share of confidence that must agree with the estimated pose"
    )
    scale_prior: float = Field(
        0.8,
        ge=0.0,
        le=1.0,
        description="Trust in the network's own metric scale: 1 keeps it, 0 takes the scale from the correspondences alone",
    )
    matching: bool = Field(
        True,
        description="Correspondences from matched descriptors; otherwise, and where too few match, from the pointmaps as predicted",
    )
    descriptor_sigma: float = Field(
        0.05,
        gt=0.0,
        le=1.0,
        description="Standard deviation in radians of the bearing of a pixel matched by descriptors",
    )
    max_keypoints: int = Field(
        800, ge=0, le=10000, description="SIFT keypoints per image that refine the pose; 0 = none"
    )
    network: Literal["auto", "always", "needed"] = Field(
        "auto",
        description="Which frames the network looks at: always all; needed = those that keypoints alone do not place, and those that become keyframes; auto = needed where it runs on a CPU, always on a GPU. Until the focal length is known (a calibration, or the first adjustment) all",
    )
    keypoint_views: int = Field(6, ge=1, le=100, description="Keyframes that keypoints are matched with")
    correct_depth: bool = Field(True, description="Correct the network's depth by what matched keypoints triangulate")
    match_step: int = Field(12, ge=1, le=64, description="Pixels between the seeds of descriptor matching")
    use_intrinsics: bool = Field(
        True, description="Where the camera's intrinsics are known, put the points on their rays"
    )
    use_odometry: bool = Field(
        True,
        description="Where the camera's pose in a frame of odometry is known, take the map's unit from it, and poses where images show too little",
    )
    max_stamp_disorder: float = Field(
        0.5,
        ge=0.0,
        description="An image that is older than the newest one by at most this many seconds is rejected; one that is older still starts a new pass over the same map",
    )
    min_contrast: float = Field(
        2.0,
        ge=0.0,
        le=255.0,
        description="Images whose grey values deviate less than this are rejected as black or constant",
    )


class AdjustmentSettings(Group):
    """Joint adjustment of keyframes and focal length, beside tracking."""

    enabled: bool = Field(
        True, description="Adjust all keyframes at the end of a recording, and those of the window while it lasts"
    )
    every: int = Field(
        4, ge=0, le=1000, description="New keyframes after which those of the window are adjusted; 0 = only at the end"
    )
    window: int = Field(20, ge=3, le=500, description="Newest keyframes that an adjustment of the window may move")
    rest: float = Field(
        5.0,
        ge=0.0,
        description="Seconds without a new keyframe after which a node adjusts the whole map; 0 = never",
    )
    growth: float = Field(
        0.5,
        ge=0.0,
        le=10.0,
        description="Share of all keyframes that must be new before all are adjusted though the camera does not rest; 0 = only when it rests",
    )
    points_per_keyframe: int = Field(
        250, ge=30, le=10000, description="Points of the scene that every keyframe shares with others in an adjustment"
    )
    depth: bool = Field(True, description="Correct the depth of keyframes, smoothly, whenever all of them are adjusted")


class MapSettings(Group):
    """The fused voxel map."""

    voxel_size: float = Field(0.04, gt=0.001, le=5.0, description="Edge of a voxel in metres")
    max_voxels: int = Field(
        2_000_000, ge=1000, description="Upper bound of the map's size; a full map stops growing and says so"
    )
    min_confidence: float = Field(1.0, ge=1.0, description="Pixels below this network confidence are not fused")
    drop_lowest: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of a frame's least confident pixels that is not fused"
    )
    edge_ratio: float = Field(
        0.08, gt=0.0, description="Pixels whose depth jumps by more than this share to a neighbour are not fused"
    )
    max_range: float = Field(
        12.0, gt=0.0, description="Points farther from the camera than this many metres are not fused"
    )
    feature_dim: int = Field(
        64,
        ge=8,
        le=1024,
        description="Numbers stored per voxel feature; features that have more are projected to an adaptive basis",
    )
    clear_free_space: bool = Field(
        True,
        description="Take out what keyframes see through, when all of them have been adjusted: people, hands, wrong depth",
    )
    straight_walls: bool = Field(
        True,
        description="Bring what looks like walls, floors and ceilings onto planes when all keyframes have been adjusted; only in maps that are upright",
    )
    superpixel_pooling: bool = Field(
        False,
        description="Average features over superpixels of the image: for features that are coarser than things; sharp ones lose small things",
    )


# Surfaces and things of rooms.
DEFAULT_LABELS = (
    "wall", "floor", "ceiling", "table", "desk", "chair", "stool", "sofa", "bed", "cabinet", "counter", "drawers",
    "shelves", "door", "window", "lamp", "television", "refrigerator", "oven", "microwave", "dishwasher", "sink",
    "toilet", "picture", "curtain", "rug", "trash can", "mug", "bottle", "bowl", "plate", "pan", "pot", "kettle",
    "teapot", "knife", "spoon", "scissors", "hammer", "drill", "screwdriver", "box", "book", "laptop", "keyboard",
    "headphones", "bag", "faucet", "vase", "plant", "ball", "hat", "clock", "phone", "game controller", "cushion",
    "bucket",
)  # fmt: skip


class QuerySettings(Group):
    """Open-vocabulary labels and object search."""

    labels: list[str] = Field(
        default=list(DEFAULT_LABELS),
        description="The vocabulary that map points are labelled with",
    )
    prompt_template: str = Field(
        "", description="A prompt with {} for the label; empty = CLIP's 80 templates, averaged"
    )
    text_encoder: str = Field(
        "", description="open_clip model name or local-dir:FOLDER; empty = the one the checkpoint names"
    )
    text_pretrained: str = Field(
        "", description="open_clip tag or weight file of the text encoder; empty = the one the checkpoint names"
    )
    min_score: float = Field(
        0.2,
        ge=0.0,
        le=1.0,
        description="Least probability of a located object; higher values answer less often for things that are not there",
    )
    min_explored: float = Field(
        0.8,
        ge=0.0,
        le=1.0,
        description="Share of the room that must have been looked at before a thing that is not found counts as absent",
    )
    prior: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="How often, of the things that are asked for, one is there; 0 = as often as where presence was calibrated",
    )
    min_points: int = Field(8, ge=1, description="Smallest number of voxels of a located object")


class Settings(Group):
    """All settings, in groups; `sab3r config` prints each with its meaning. Raises pydantic's ValidationError for bad values."""

    model: ModelSettings = ModelSettings()
    camera: CameraSettings = CameraSettings()
    window: WindowSettings = WindowSettings()
    tracking: TrackingSettings = TrackingSettings()
    adjustment: AdjustmentSettings = AdjustmentSettings()
    map: MapSettings = MapSettings()
    query: QuerySettings = QuerySettings()

    def with_values(self, **groups: dict[str, Any]) -> "Settings":
        """A copy with other values in some groups, such as map={"voxel_size": 0.02}; the values are not validated again."""
        changed = {name: getattr(self, name).model_copy(update=values) for name, values in groups.items()}
        return self.model_copy(update=changed)


def dotted_fields(settings: type[Group] | Group = Settings, prefix: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """(dotted name, field, default or current value) of every setting."""
    cls = settings if isinstance(settings, type) else type(settings)
    for name, info in cls.model_fields.items():
        value = info.get_default(call_default_factory=True) if isinstance(settings, type) else getattr(settings, name)
        if isinstance(value, Group):
            yield from dotted_fields(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info, value


def settings_from_dotted(values: dict[str, Any], base: type[Group] = Settings) -> Any:
    """Validated settings from {"window.size": 4, ...}; names left out keep their defaults.

    Raises ValueError that names the setting, what was given and what is allowed.
    """
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        if dotted in RETIRED:
            log.warning("%s is ignored: %s", dotted, RETIRED[dotted])
            continue
        *groups, leaf = current_name(dotted).split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[leaf] = value
    try:
        return base.model_validate(tree)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
        raise ValueError("invalid settings: " + "; ".join(lines)) from error


def load_settings(path: Path | None = None, overrides: list[str] | None = None) -> Settings:
    """Settings from a YAML file (nested groups) and "name=value" overrides, which win.

    A ROS parameter file works too: its `/**: ros__parameters:` is looked into, and names that only the node
    knows are left to the node. Raises ValueError for an unreadable file or a bad value, FileNotFoundError.
    """
    values: dict[str, Any] = {}
    known = {name for name, _, _ in dotted_fields()}
    if path is not None:
        try:
            tree = yaml.safe_load(Path(path).read_text()) or {}
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        ros = isinstance(tree, dict) and next(
            (v.get("ros__parameters") for v in tree.values() if isinstance(v, dict) and "ros__parameters" in v), None
        )
        flat = dict(_flatten(ros or tree))
        values.update({k: v for k, v in flat.items() if not ros or current_name(k) in known or k in RETIRED})
    for item in overrides or []:
        name, separator, text = item.partition("=")
        if not separator:
            raise ValueError(f"expected name=value, got {item!r}")
        values[name.strip()] = yaml.safe_load(text)
    return settings_from_dotted(values)


def _flatten(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
