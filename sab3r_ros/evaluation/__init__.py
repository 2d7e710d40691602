"""Measures against ground truth."""
