"""Commands about networks: which there are, bringing them here, exporting and calibrating them."""

import json
import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sab3r_ros.cli.options import ConfigOption, JsonOption, SetOption, print_metrics, settings_of
from sab3r_ros.models.catalogue import KNOWN, models_dir

CheckpointArgument = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="A path, a known name (`sab3r models`) or a hub name owner/model")
]


class ModelFormat(str, Enum):
    """What a network can be exported to."""

    OPENVINO = "openvino"


def add_model_commands(app: typer.Typer) -> None:
    """Give an application the commands of this module."""
    app.command("models")(show_models)
    app.command("calibrate")(calibrate_command)
    app.command("fetch")(fetch_command)
    app.command("export-model")(export_model_command)


def show_models(as_json: JsonOption = False) -> None:
    """List the models by name: size, licence, what they can do, and whether they are on this machine.

    Example: sab3r models --json
    """
    rows = [
        {
            "name": name, "summary": known.summary, "licence": known.licence, "tasks": known.tasks, "image_size": known.image_size,
            "megabytes": known.megabytes, "present": known.is_present(name),
        }
        for name, known in KNOWN.items()
    ]  # fmt: skip
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        state = "here" if row["present"] else f"sab3r fetch {row['name']}"
        print(
            f"{row['name']:<16} {row['megabytes']:>5} MB  {row['image_size']:>4} px  {row['tasks']}; {row['summary']} [{state}]"
        )
        print(f"{'':<16} licence: {row['licence']}")
    print(
        f"Fetched models lie in {models_dir()}/NAME (SAB3R_MODELS changes that). Without a network: copy a model's folder there"
    )
    print("from a machine that has it, or `sab3r fetch NAME --from FOLDER`.")


def calibrate_command(
    checkpoint: CheckpointArgument,
    data: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Labelled recordings in 7-Scenes' layout with labels.json"),
    ] = None,
    rooms: Annotated[
        int, typer.Option(min=0, help="Made-up rooms that no training has seen, beside the recordings")
    ] = 0,
    frames: Annotated[int, typer.Option(min=4, help="Frames per room")] = 12,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; default the checkpoint's")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Fit what a score means: the probability that a thing is there, for a checkpoint's network (extra [lab]).

    Example: sab3r calibrate sab3r_small --rooms 72
    """
    from sab3r_ros.lab.training.commands import calibrate_presence

    settings = settings_of(config, overrides, checkpoint)
    print_metrics(calibrate_presence(settings, data or [], rooms, frames, workers, out), as_json)


def fetch_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model of `sab3r models`")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Copy the files from this folder instead of downloading")
    ] = None,
) -> None:
    """Bring a model onto this machine.

    Example: sab3r fetch dune_small
    """
    from sab3r_ros.cli.mapping import progress_of_files
    from sab3r_ros.models.catalogue import fetch

    for path in fetch(name, source, progress_of_files()):
        print(path)


def export_model_command(
    checkpoint: CheckpointArgument,
    to: Annotated[ModelFormat, typer.Option(help="openvino: for CPUs; the extra of that name")] = ModelFormat.OPENVINO,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Images as the network sees them; default: 4:3, as wide as its own")
    ] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; default: where `model.runtime=auto` looks for it")
    ] = None,
) -> None:
    """Export a network for another runtime: on x86 CPUs OpenVINO takes about 0.7 of the time of PyTorch.

    Example: sab3r export-model sab3r_small --to openvino
    """
    from sab3r_ros.models.openvino_runtime import export_openvino
    from sab3r_ros.models.weights import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    cfg = loaded.network.cfg
    match = re.fullmatch(r"(\d+)x(\d+)", size or f"{cfg.image_size}x{cfg.image_size * 3 // 4 // cfg.patch * cfg.patch}")
    if not match:
        raise ValueError(f"--size is WIDTHxHEIGHT, such as 320x240, not {size!r}")
    print(export_openvino(loaded, (int(match[1]), int(match[2])), out))
