"""Questions to a map in words."""
