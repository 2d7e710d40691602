"""Where images come from: encodings, folders, videos, bags, cameras, and a built-in sequence."""
