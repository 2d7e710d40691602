"""The mapper on a robot: `ros2 launch sab3r_ros sab3r.launch.py image:=/camera/image_raw`.

Everything is checked before anything is started: a launch that fails leaves no node behind.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

ARGUMENTS = {
    "params": ("", "Parameter file of the mapper; empty = config/semantic_mapper.yaml of this package"),
    "namespace": ("", "Namespace of all nodes: one per camera or robot"),
    "camera_name": ("", "A camera beside others: its topics are CAMERA/image_raw ..., its map frame CAMERA_map"),
    "image": ("", "Topic of the images; empty = image, or CAMERA/image_raw with camera_name"),
    "camera_info": ("", "Topic of the calibration; empty = camera_info, or CAMERA/camera_info"),
    "depth": ("", "Topic of registered depth (with use_depth); empty = depth, or CAMERA/depth"),
    "imu": ("", "Topic of an inertial unit (with use_imu); empty = imu, or CAMERA/imu"),
    "use_sim_time": ("false", "Take the time from /clock"),
    "rviz": ("true", "Start RViz where it is installed"),
    "enable_affordance": ("true", "Start the affordance server"),
    "affordance": ("cast_tiny", "CAST checkpoint of the affordance server; none = do not start it"),
    "one_process": ("false", "Mapper and affordance server in one process"),
}
_YES, _NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def as_bool(name, text):
    """A launch argument as a boolean. Raises RuntimeError for anything else."""
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise RuntimeError(f"{name}:={text} is neither true nor false")


def topics_of(given):
    """(name in the node, topic) of the camera's topics."""
    camera = given["camera_name"].strip("/")
    names = {"image": "image_raw", "camera_info": "camera_info", "depth": "depth", "imu": "imu"}
    topics = {name: given[name] or (f"{camera}/{topic}" if camera else name) for name, topic in names.items()}
    return [*topics.items(), ("image/compressed", f"{topics['image']}/compressed")]


def set_up(context):
    """The actions that the arguments ask for."""
    given = {name: LaunchConfiguration(name).perform(context).strip() for name in ARGUMENTS}
    share = Path(get_package_share_directory("sab3r_ros"))
    rviz, together, sim = (as_bool(name, given[name]) for name in ("rviz", "one_process", "use_sim_time"))
    affordance = as_bool("enable_affordance", given["enable_affordance"]) and given["affordance"] not in ("", "none")
    params = Path(given["params"] or share / "config" / "semantic_mapper.yaml").expanduser()
    if not params.is_file():
        raise RuntimeError(f"params:={params}: no such file")
    camera = given["camera_name"].strip("/")
    own = {"use_sim_time": sim, **({"map_frame": f"{camera}_map"} if camera else {})}
    server = [
        str(share / "config" / "affordance_server.yaml"),
        {"checkpoint": given["affordance"], "use_sim_time": sim},
    ]
    common = {
        "package": "sab3r_ros",
        "output": "screen",
        "namespace": "/".join(filter(None, [given["namespace"], camera])),
    }
    # The camera's topics are given from the namespace that was asked for, not from the camera's own.
    root = f"/{given['namespace'].strip('/')}/" if given["namespace"].strip("/") else "/"
    remappings = [(name, topic if topic.startswith("/") else root + topic) for name, topic in topics_of(given)]
    actions = []
    if affordance and together:
        parameters = [str(params), *server, own]
        actions.append(Node(executable="perception", parameters=parameters, remappings=remappings, **common))
    else:
        parameters = [str(params), own]
        node = Node(
            executable="semantic_mapper", name="semantic_mapper", parameters=parameters, remappings=remappings, **common
        )
        actions.append(node)
        if affordance:
            actions.append(Node(executable="affordance_server", name="affordance_server", parameters=server, **common))
    if rviz:
        actions.append(show(share, common["namespace"], own.get("map_frame", "map"), remappings))
    return actions


def show(share, namespace, frame, remappings):
    """RViz with our configuration; where it is not installed, a line that says so: the nodes run without."""
    try:
        get_package_share_directory("rviz2")
    except PackageNotFoundError:
        return LogInfo(msg="rviz2 is not installed: the nodes start without it (sudo apt install ros-jazzy-rviz2)")
    arguments = ["-d", str(share / "config" / "sab3r.rviz"), "-f", frame]
    return Node(package="rviz2", executable="rviz2", namespace=namespace, arguments=arguments, remappings=remappings)


def generate_launch_description():
    """Arguments, the transport's settings, and what `set_up` makes of them."""
    profile = str(Path(get_package_share_directory("sab3r_ros")) / "config" / "fastdds.xml")
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=value, description=text)
                for name, (value, text) in ARGUMENTS.items()
            ),
            # Images are larger than Fast DDS's default shared-memory segment and socket buffers. A camera that is started
            # elsewhere needs the same file (docs/robot.md).
            SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", profile),
            SetEnvironmentVariable("FASTDDS_DEFAULT_PROFILES_FILE", profile),
            OpaqueFunction(function=set_up),
        ]
    )
