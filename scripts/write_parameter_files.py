#!/usr/bin/env python3
"""Write the nodes' parameter files in config/ from the settings' defaults."""

from pathlib import Path

from sab3r_ros.config import Settings
from sab3r_ros.nodes.parameters import AffordanceServerSettings, FramePlayerSettings, MapperNodeSettings, parameter_file

FILES = {
    "semantic_mapper.yaml": (MapperNodeSettings, Settings),
    "frame_player.yaml": (FramePlayerSettings,),
    "affordance_server.yaml": (AffordanceServerSettings,),
}

if __name__ == "__main__":
    for name, groups in FILES.items():
        (Path(__file__).resolve().parents[1] / "config" / name).write_text(parameter_file(*groups))
