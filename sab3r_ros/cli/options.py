"""Options that several commands have, and what is common to their ends."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sab3r_ros.config import Settings, load_settings

if TYPE_CHECKING:
    from sab3r_ros.lab.evaluation.report import Report

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
ReportOption = Annotated[Path | None, typer.Option(help="Folder for a page with tables, plots and pictures")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one line of JSON")]


def settings_of(config: Path | None, overrides: list[str] | None, checkpoint: str = "") -> Settings:
    """The settings of a file, changed by `--set` and by a checkpoint. Raises as `load_settings`."""
    extra = [f"model.checkpoint={json.dumps(checkpoint)}"] if checkpoint else []
    return load_settings(config, [*(overrides or []), *extra])


def page_of(folder: Path | None, title: str) -> "Report | None":
    """The page that `--report` asks for; None without it. Raises OSError where it cannot be written, before the work."""
    if folder is None:
        return None
    from sab3r_ros.lab.evaluation.report import Report

    return Report(folder, title)


def print_metrics(metrics: dict, as_json: bool, page: "Report | None" = None) -> None:
    """Print metrics as lines, or as one line of JSON; put them on a page, too, where there is one."""
    if page is not None:
        page.heading("Figures")
        page.everything(metrics)
        page.write()
    if as_json:
        from sab3r_ros.files import finite

        print(json.dumps(finite(metrics)))
        return
    for name, value in metrics.items():
        if not isinstance(value, list):
            print(f"{name:>20}: {value:.3f}" if isinstance(value, float) else f"{name:>20}: {value}")
