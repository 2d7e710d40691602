"""Pure functions on pointmaps, similarity transforms and matches."""
