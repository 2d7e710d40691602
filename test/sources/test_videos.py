"""Videos of every suffix, cut ones, and cameras that are not there."""

import numpy as np
import pytest
from recordings import picture, write_picture, write_video

from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.open import open_source


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov", ".made_up"])
def test_the_content_says_what_a_video_is(tmp_path, suffix):
    path = write_video(tmp_path / "clip.avi").rename(tmp_path / f"clip{suffix}")
    frames = list(open_source(str(path)))
    assert len(frames) == 6
    assert np.abs(frames[5].rgb.astype(int) - picture(5)).mean() < 8


def test_a_video_can_be_played_again(tmp_path):
    source = open_source(str(write_video(tmp_path / "clip.avi")))
    assert [f.stamp for f in source] == [f.stamp for f in source] == [k * 50_000_000 for k in range(6)]


def test_frames_keep_the_times_of_the_file(real_data):
    frames = open_source(str(real_data / "field_cases" / "video_variable_frame_rate" / "vfr.mp4"))
    assert [f.stamp / 1e9 for f in frames] == pytest.approx([0, 0.1, 0.2, 1.2, 1.3, 2.3, 2.4, 5.4])


def test_a_video_that_is_cut_says_so(tmp_path):
    path = write_video(tmp_path / "clip.avi", frames=40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(str(path))
    assert 0 < len(list(source)) < 40


@pytest.mark.parametrize("name", ["/dev/video93", "rtsp://127.0.0.1:1/stream", "93"])
def test_cameras_and_streams_that_are_not_there_say_so(name):
    with pytest.raises(SourceError, match=r"cannot be opened|does not answer"):
        open_source(name)


def test_a_cloud_is_no_recording(tmp_path):
    (tmp_path / "mug.ply").write_bytes(b"ply")
    with pytest.raises(SourceError, match="point cloud"):
        open_source(str(tmp_path / "mug.ply"))
    write_picture(tmp_path / "one.png", picture(0))
    with pytest.raises(SourceError, match="single image"):
        open_source(str(tmp_path / "one.png"))
