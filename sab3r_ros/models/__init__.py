"""Networks: tensors in, tensors out. No files, no ROS, no global state (except `weights`, the checkpoint door)."""
