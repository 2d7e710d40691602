"""From frames to a semantic map: window, tracking, fusion, query, files."""
