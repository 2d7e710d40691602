"""From what a user writes to the recording it means; readers are imported late."""

from pathlib import Path

from sab3r_ros.sources.base import BAG_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, Source, SourceError


def open_source(text: str, rate: float = 10.0, depth: bool = False, topic: str = "") -> Source:
    """The source that a path, a camera number or "demo" stands for.

    rate: frames per second assumed where images have no stamps. depth: also read depth images and
    intrinsics where the recording has them. topic: the image topic of a bag (default: the only one).
    Raises FileNotFoundError, SourceError.
    """
    if text == "demo":
        from sab3r_ros.sources.demo import DemoSource

        return DemoSource(rate)
    if text.isdigit():
        from sab3r_ros.sources.videos import VideoSource

        return VideoSource(int(text), rate)
    path = Path(text).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"no such input: {text} (give a folder of images, a video, a bag, a camera number or demo)"
        )
    if path.suffix.lower() in BAG_SUFFIXES or (path / "metadata.yaml").is_file():
        from sab3r_ros.sources.bags import BagSource

        return BagSource(path, topic)
    if path.is_dir():
        from sab3r_ros.sources.folders import FolderSource

        return FolderSource(path, rate, depth)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        from sab3r_ros.sources.videos import VideoSource

        return VideoSource(path, rate)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise SourceError(f"{path} is a single image; give the folder it lies in")
    raise SourceError(
        f"{path}: unknown kind of input {path.suffix!r}; known: folders, {', '.join(sorted(VIDEO_SUFFIXES | BAG_SUFFIXES))}"
    )
