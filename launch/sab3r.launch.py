"""The mapper on a robot: `ros2 launch sab3r_ros sab3r.launch.py image:=/camera/image_raw`."""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, LogInfo, SetEnvironmentVariable
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node

from launch import LaunchDescription


def rviz(share):
    """RViz with our configuration; where it is not installed, a line that says so: the nodes run without."""
    wanted = IfCondition(LaunchConfiguration("rviz"))
    try:
        get_package_share_directory("rviz2")
    except PackageNotFoundError:
        return LogInfo(
            msg="rviz2 is not installed: the nodes start without it (sudo apt install ros-jazzy-rviz2)",
            condition=wanted,
        )
    arguments = ["-d", str(share / "config" / "sab3r.rviz")]
    return Node(package="rviz2", executable="rviz2", arguments=arguments, condition=wanted)


def generate_launch_description():
    share = Path(get_package_share_directory("sab3r_ros"))
    clock = {"use_sim_time": LaunchConfiguration("use_sim_time")}
    server = [
        str(share / "config" / "affordance_server.yaml"),
        {"checkpoint": LaunchConfiguration("affordance")},
        clock,
    ]
    camera = [
        ("image", LaunchConfiguration("image")),
        ("image/compressed", [LaunchConfiguration("image"), "/compressed"]),
        ("camera_info", LaunchConfiguration("camera_info")),
        ("depth", LaunchConfiguration("depth")),
    ]
    apart = PythonExpression(
        [
            "'",
            LaunchConfiguration("affordance"),
            "' not in ('', 'none') and '",
            LaunchConfiguration("one_process"),
            "' != 'true'",
        ]
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params", default_value=str(share / "config" / "semantic_mapper.yaml"), description="Parameter file"
            ),
            DeclareLaunchArgument("image", default_value="image", description="Topic of the camera's images"),
            DeclareLaunchArgument(
                "camera_info", default_value="camera_info", description="Topic of the camera's intrinsics"
            ),
            DeclareLaunchArgument(
                "depth", default_value="depth", description="Topic of registered depth (with use_depth)"
            ),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock"),
            DeclareLaunchArgument("rviz", default_value="true", description="Start RViz"),
            DeclareLaunchArgument(
                "affordance",
                default_value="cast_tiny",
                description="CAST checkpoint of the affordance server; none = do not start it",
            ),
            DeclareLaunchArgument(
                "one_process", default_value="false", description="Mapper and affordance server in one process"
            ),
            # Images are larger than Fast DDS's default shared-memory segment and socket buffers.
            SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", str(share / "config" / "fastdds.xml")),
            SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", str(share / "config" / "fastdds.xml")),
            Node(
                package="sab3r_ros",
                executable="semantic_mapper",
                name="semantic_mapper",
                output="screen",
                parameters=[LaunchConfiguration("params"), clock],
                remappings=camera,
                condition=UnlessCondition(LaunchConfiguration("one_process")),
            ),
            Node(
                package="sab3r_ros",
                executable="affordance_server",
                name="affordance_server",
                output="screen",
                parameters=server,
                condition=IfCondition(apart),
            ),
            # No name: one would rename both nodes.
            Node(
                package="sab3r_ros",
                executable="perception",
                output="screen",
                parameters=[LaunchConfiguration("params"), *server],
                remappings=camera,
                condition=IfCondition(LaunchConfiguration("one_process")),
            ),
            rviz(share),
        ]
    )
