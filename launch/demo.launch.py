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
    share = Path(get_package_share_directory("sab3r_ros"))
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "input", default_value="demo", description="Folder, video, bag, camera number, or demo"
            ),
            DeclareLaunchArgument("rate", default_value="10.0", description="Images per second"),
            DeclareLaunchArgument("loop", default_value="false", description="Begin again after the last image"),
            DeclareLaunchArgument("rviz", default_value="true", description="Start RViz"),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(share / "launch" / "sab3r.launch.py")),
                launch_arguments={"rviz": LaunchConfiguration("rviz")}.items(),
            ),
            Node(
                package="sab3r_ros",
                executable="frame_player",
                name="frame_player",
                output="screen",
                parameters=[
                    str(share / "config" / "frame_player.yaml"),
                    {
                        "input": ParameterValue(LaunchConfiguration("input"), value_type=str),
                        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
                    },
                ],
            ),
        ]
    )
