"""Joint adjustment of keyframes and the focal length over tracks of keypoints."""
