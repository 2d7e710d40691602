#!/bin/bash
# Runs the launch tests with a real ROS 2 Jazzy, on Ubuntu 24.04 with its apt repository set up (docs.ros.org).
# launch and launch_ros have no wheels, so that the tests elsewhere use stand-ins.
set -eo pipefail
cd "$(dirname "$0")/.."
sudo apt-get install -y ros-jazzy-ros-base ros-jazzy-tf2-ros-py ros-jazzy-rmw-fastrtps-cpp python3-venv python3-colcon-common-extensions
source /opt/ros/jazzy/setup.bash
python3 -m venv --system-site-packages .venv-jazzy
source .venv-jazzy/bin/activate
pip install --index-url https://download.pytorch.org/whl/cpu torch
pip install -e '.[lab,dev]'
colcon build --symlink-install --build-base build-jazzy --install-base install-jazzy --cmake-args -DBUILD_TESTING=OFF
source install-jazzy/setup.bash
pytest -q test/ros/test_launch.py test/ros/test_transforms.py "$@"
