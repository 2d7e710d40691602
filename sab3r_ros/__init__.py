"""Semantic 3D mapping from an ordinary camera. Light on purpose: every ROS message import runs this file."""

__version__ = "0.1.0"
