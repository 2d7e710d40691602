#!/usr/bin/env python3
"""Write an interface package `tf2_msgs` into FOLDER, for ROS installations made of wheels, which lack it.

Its one message is type-compatible with the distribution's. Usage: tf2_msgs_package.py FOLDER
"""

import sys
from pathlib import Path

PACKAGE = """<?xml version="1.0"?>
<package format="3">
  <name>tf2_msgs</name>
  <version>0.0.1</version>
  <description>TFMessage, where the distribution's tf2_msgs is not installed.</description>
  <maintainer email="maintainers@sab3r-ros.org">The sab3r_ros developers</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <build_depend>rosidl_default_generators</build_depend>
  <depend>geometry_msgs</depend>
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
CMAKE = """cmake_minimum_required(VERSION 3.16)
project(tf2_msgs)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
find_package(geometry_msgs REQUIRED)
get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target IN LISTS imported_targets)
  if(target MATCHES "__rosidl_generator_py$")
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "")
  endif()
endforeach()
rosidl_generate_interfaces(${PROJECT_NAME} msg/TFMessage.msg DEPENDENCIES geometry_msgs)
ament_package()
"""
FILES = {
    "package.xml": PACKAGE,
    "CMakeLists.txt": CMAKE,
    "msg/TFMessage.msg": "geometry_msgs/TransformStamped[] transforms\n",
}

if __name__ == "__main__":
    for name, text in FILES.items():
        path = Path(sys.argv[1]) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
