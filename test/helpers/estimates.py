"""Poses and estimates of them, as tracking makes them."""

import numpy as np
import torch

from sab3r_ros.types import Edge, PoseEstimate


def at(x=0.0, turn=0.0):
    """A camera (4,4) moved along x and turned about y."""
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    pose[0, 3] = x
    return pose


def estimate(pose, agreeing=100, others=50, scale=1.0, target=0):
    """An estimate of a pose (4,4) by matches with one keyframe, of which so many agree."""
    weights = np.r_[np.ones(agreeing), np.zeros(others)]
    edge = Edge(
        None, target, "keypoints", np.zeros((len(weights), 2)), np.zeros((len(weights), 2)), 1.0, weights, np.eye(4)
    )
    pose = torch.from_numpy(pose.copy())
    pose[:3, :3] *= scale
    return PoseEstimate(pose, 0.9, (1.0,), torch.ones(4, 6, 3), torch.ones(4, 6), 5.0, edges=(edge,))
