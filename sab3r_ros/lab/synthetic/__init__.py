"""Procedural rooms with exact depth, pose and labels, for training, tests and the demo."""
