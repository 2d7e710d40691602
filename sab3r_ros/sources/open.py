"""From what a user writes to the recording it means; readers are imported late."""

from pathlib import Path

from sab3r_ros.sources.base import (
    ARCHIVE_SUFFIXES,
    BAG_SUFFIXES,
    IMAGE_SUFFIXES,
    URL_SCHEMES,
    VIDEO_SUFFIXES,
    Source,
    SourceError,
)

_CLOUD_SUFFIXES = frozenset({".ply", ".pcd", ".xyz", ".obj", ".stl", ".glb", ".las", ".laz"})


def open_source(
    text: str, rate: float = 10.0, depth: bool = False, topic: str = "", depth_scale: float = 0.0, odometry: str = ""
) -> Source:
    """The source that a path, a URL, a camera number or "demo" stands for; a path that exists wins.

    rate: frames per second assumed where images have no stamps. depth: also read depth images and
    intrinsics where the recording has them; depth_scale: their units per metre, 0 = what the layout says.
    topic: the image topic of a bag (default: the only one). odometry: a file of the camera's poses (TUM's format, stamps as the
    recording's; for a folder also Record3D's metadata.json or a transforms.json), or for a bag a frame of its transforms. Raises FileNotFoundError, SourceError.
    """
    path = Path(text).expanduser()
    if odometry:
        return _with_odometry(path, text, rate, depth, topic, depth_scale, odometry)
    if path.exists() and not text.startswith("/dev/video"):
        return _open_path(path, rate, depth, topic, depth_scale)
    if text == "demo":
        from sab3r_ros.sources.demo import DemoSource

        return DemoSource(rate)
    if (text.isascii() and text.isdigit() and len(text) < 4) or text.startswith(("/dev/video", *URL_SCHEMES)):
        from sab3r_ros.sources.videos import VideoSource

        return VideoSource(int(text) if text.isdigit() else text, rate)
    raise FileNotFoundError(
        f"no such input: {text} (give a folder of images, a video, a bag, an archive of these, a URL, a camera number or demo)"
    )


def _with_odometry(
    path: Path, text: str, rate: float, depth: bool, topic: str, depth_scale: float, odometry: str
) -> Source:
    file = Path(odometry).expanduser()
    if file.is_file():
        from sab3r_ros.sources.odometry import WithOdometry

        return WithOdometry(open_source(text, rate, depth, topic, depth_scale), file)
    if path.exists() and _is_bag(path):
        from sab3r_ros.sources.bags import BagSource

        return BagSource(path, topic, depth, depth_scale, odometry)
    raise SourceError(
        f"no file of poses {odometry}: for {text} odometry is such a file (TUM's format); only a bag has frames of its own"
    )


def _open_path(path: Path, rate: float, depth: bool, topic: str, depth_scale: float) -> Source:
    suffix = path.suffix.lower()
    if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        from sab3r_ros.sources.archives import open_archive

        return open_archive(path, lambda inside: _open_path(inside, rate, depth, topic, depth_scale))
    if _is_bag(path):
        from sab3r_ros.sources.bags import BagSource

        return BagSource(path, topic, depth, depth_scale)
    if path.is_dir():
        from sab3r_ros.sources.folders import FolderSource

        return FolderSource(path, rate, depth, depth_scale)
    if suffix in IMAGE_SUFFIXES:
        raise SourceError(f"{path} is a single image; give the folder it lies in")
    if suffix in _CLOUD_SUFFIXES:
        raise SourceError(
            f"{path} is a point cloud, not a recording; `sab3r affordance {path}` asks questions about it"
        )
    if not path.is_file():
        raise SourceError(f"{path} is neither a file nor a folder")
    from sab3r_ros.sources.videos import VideoSource

    try:
        return VideoSource(path, rate)
    except SourceError:
        if suffix in VIDEO_SUFFIXES:
            raise
        known = ", ".join(sorted(VIDEO_SUFFIXES | BAG_SUFFIXES))
        raise SourceError(
            f"{path}: unknown kind of input {suffix!r}; known: folders, zip and tar archives, {known}"
        ) from None


def _is_bag(path: Path) -> bool:
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(p.suffix.lower() in BAG_SUFFIXES for p in path.iterdir())
    return path.suffix.lower() in BAG_SUFFIXES or path.name.lower().endswith((".db3.zstd", ".mcap.zstd", ".bag.active"))
