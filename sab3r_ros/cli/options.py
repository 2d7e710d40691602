"""Options that several commands have, and what is common to their ends."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sab3r_ros.config import Settings, load_settings

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML with settings, nested or as a ROS parameter file")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, as name=value; may be repeated (see `sab3r config`)")
]
CheckpointOption = Annotated[str, typer.Option(help="A path, a known name (`sab3r models`) or a hub name owner/model")]
FirstOption = Annotated[
    int,
    typer.Option(min=0, max=40_000, help="Number of the first sample: others show how much a figure owes to chance"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON")]


def settings_of(config: Path | None, overrides: list[str] | None, checkpoint: str = "") -> Settings:
    """The settings of a file, changed by `--set` and by a checkpoint. Raises as `load_settings`."""
    extra = [f"model.checkpoint={json.dumps(checkpoint)}"] if checkpoint else []
    return load_settings(config, [*(overrides or []), *extra])


def print_metrics(metrics: dict, as_json: bool) -> None:
    """Print metrics as lines, or as one line of JSON."""
    if as_json:
        from sab3r_ros.files import finite

        print(json.dumps(finite(metrics)))
        return
    for name, value in metrics.items():
        if not isinstance(value, list):
            print(f"{name:>20}: {value:.3f}" if isinstance(value, float) else f"{name:>20}: {value}")
