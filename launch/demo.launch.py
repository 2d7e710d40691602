"""The mapper on a recording: `ros2 launch sab3r_ros demo.launch.py input:=FOLDER_VIDEO_OR_BAG`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription


def generate_launch_description():
    """The mapper's launch file, and a player that waits for it and drops no image."""
    share = Path(get_package_share_directory("sab3r_ros"))
    played = {
        "input": ParameterValue(LaunchConfiguration("input"), value_type=str),
        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
        "follow": ParameterValue(LaunchConfiguration("follow"), value_type=str),
        "wait_for_subscribers": 120.0,  # a model that is loaded for the first time takes its time
    }
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "input",
                default_value="demo",
                description="A folder of images, a video, a bag, a URL, a camera number, or demo",
            ),
            DeclareLaunchArgument("rate", default_value="10.0", description="Images per second at most"),
            DeclareLaunchArgument("loop", default_value="false", description="Begin again after the last image"),
            DeclareLaunchArgument(
                "follow",
                default_value="semantic_mapper",
                description="Send an image when this mapper has dealt with the one before; none = at `rate`, as a camera does",
            ),
            DeclareLaunchArgument("rviz", default_value="true", description="Start RViz where it is installed"),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(share / "launch" / "sab3r.launch.py")),
                launch_arguments={"rviz": LaunchConfiguration("rviz")}.items(),
            ),
            Node(
                package="sab3r_ros",
                executable="frame_player",
                name="frame_player",
                output="screen",
                parameters=[str(share / "config" / "frame_player.yaml"), played],
            ),
        ]
    )
