"""ROS 2 nodes; the only place that knows ROS."""
