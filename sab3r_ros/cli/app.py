"""Commands and their options; the work is done elsewhere."""

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sab3r_ros.cli.errors import run_command
from sab3r_ros.cli.eval_app import evaluate
from sab3r_ros.cli.model_commands import add_model_commands
from sab3r_ros.cli.options import (
    CheckpointOption,
    ConfigOption,
    JsonOption,
    SetOption,
    print_metrics,
    settings_of,
)
from sab3r_ros.cli.train_app import train
from sab3r_ros.config import dotted_fields
from sab3r_ros.files import finite

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Semantic 3D maps with text queries from monocular RGB video.",
)
app.add_typer(evaluate, name="eval")
app.add_typer(train, name="train")
add_model_commands(app)


class LengthUnit(str, Enum):
    """Units of lengths in files of other programs."""

    M = "m"
    CM = "cm"
    MM = "mm"


def run() -> None:
    """Run a command; errors become one line on stderr and exit status 1."""
    run_command(app)


@app.command("map")
def map_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A folder of images, a video, a bag, an archive of these, a URL, a camera number, ros:/TOPIC, or demo",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the map and its exports")],
    checkpoint: CheckpointOption = "",
    rate: Annotated[float, typer.Option(min=0.01, help="Images per second where the input has no stamps")] = 10.0,
    limit: Annotated[int, typer.Option(min=0, help="Stop after this many frames; 0 = all")] = 0,
    depth: Annotated[bool, typer.Option(help="Use depth images and intrinsics where the input has them")] = False,
    depth_scale: Annotated[
        float, typer.Option(min=0.0, help="Units per metre of integer depth images; 0 = what the layout says")
    ] = 0.0,
    topic: Annotated[str, typer.Option(help="Image topic of a bag that has several")] = "",
    odometry: Annotated[
        str,
        typer.Option(
            help="The camera's poses by wheels, a phone or a headset: a file (TUM: seconds x y z qx qy qz qw; for images also Record3D's metadata.json or a transforms.json), or for a bag the frame on /tf, such as odom"
        ),
    ] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace a map that is in the folder")] = False,
    onto: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Continue this map: the camera must see a place of it")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Map a recording: writes the map, map.ply, trajectory.txt (TUM), preview.png and summary.json.

    Example: sab3r map walk.mp4 --out kitchen
    """
    from sab3r_ros.cli.mapping import map_input

    settings = settings_of(config, overrides, checkpoint)
    summary = map_input(
        source, out, settings, rate, limit, depth, topic, overwrite, depth_scale, onto, odometry=odometry
    )
    if as_json:
        print(json.dumps(summary))
    else:
        print(
            f"{summary['frames']} frames, {summary['keyframes']} keyframes, {summary['points']} points at {summary['fps']:.1f} frames/s -> {out}"
        )
    if summary["ended"] not in ("complete", "interrupted"):
        raise typer.Exit(1)


@app.command("map-all")
def map_all_command(
    sources: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Recordings, as `sab3r map` takes them")],
    out: Annotated[Path, typer.Option(help="Folder with a folder for every map, and summary.json")],
    workers: Annotated[int, typer.Option(min=1, help="Recordings at once on this machine")] = 2,
    cluster: Annotated[
        str,
        typer.Option(help='Ray (extra [cluster]): "local", "auto" or an address; empty = processes of this machine'),
    ] = "",
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs of a recording on the cluster, may be a fraction")] = 0.0,
    checkpoint: CheckpointOption = "",
    rate: Annotated[float, typer.Option(min=0.01, help="Images per second where the input has no stamps")] = 10.0,
    limit: Annotated[int, typer.Option(min=0, help="Stop after this many frames; 0 = all")] = 0,
    depth: Annotated[bool, typer.Option(help="Use depth images and intrinsics where the input has them")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Map many recordings, several at once; the same command goes on where it was stopped.

    Example: sab3r map-all walks/*.mp4 --out maps
    """
    from sab3r_ros.cli.map_all import map_all, table

    settings = settings_of(config, overrides, checkpoint)
    done = map_all(sources, out, settings, rate, limit, depth, workers, cluster, gpus)
    print(json.dumps(finite(done)) if as_json else table(done["recordings"]))
    if any(row["ended"] != "complete" for row in done["recordings"]):
        raise typer.Exit(1)


@app.command("merge")
def merge_command(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Two or more maps; the first one's frame stays")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the joined map and its exports")],
    overwrite: Annotated[bool, typer.Option(help="Replace a map that is in the folder")] = False,
    adjust: Annotated[bool, typer.Option(help="Adjust the keyframes of all maps together")] = True,
    checkpoint: CheckpointOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Join maps that share a place, also those of several robots; the places are found by what the cameras saw.

    Example: sab3r merge monday tuesday --out week
    """
    from sab3r_ros.cli.merge import merge_maps

    if len(folders) < 2:
        raise typer.BadParameter("give two maps or more")
    summary = merge_maps(folders, out, settings_of(config, overrides, checkpoint), overwrite, adjust)
    if as_json:
        print(json.dumps(summary))
    else:
        joined = sum(row["joined"] for row in summary["maps"])
        print(
            f"{joined} of {len(folders)} maps joined: {summary['keyframes']} keyframes, {summary['points']} points -> {out}"
        )
    if not all(row["joined"] for row in summary["maps"]):
        raise typer.Exit(1)


@app.command("inspect")
def inspect_command(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Anything that `sab3r map` or `sab3r affordance` takes")
    ],
    topic: Annotated[str, typer.Option(help="Image topic of a bag that has several")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Read this many frames at most; 0 = all")] = 0,
    depth_scale: Annotated[float, typer.Option(min=0.0, help="Units per metre of integer depth images")] = 0.0,
    png: Annotated[
        Path | None, typer.Option(help="Draw frames, depth and the steps between stamps into this file")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what an input is, without mapping it: format, frames, stamps, calibration, depth, faults.

    Example: sab3r inspect recording.mcap --png recording.png
    """
    from sab3r_ros.cli.inspect import inspect_input, lines_of

    found = inspect_input(source, topic, limit, png, depth_scale)
    print(json.dumps(finite(found)) if as_json else "\n".join(lines_of(found)))


@app.command()
def locate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A map written by `sab3r map` or ~/save_map")],
    text: Annotated[str, typer.Argument(help='What to look for: "a black office chair"')],
    as_json: JsonOption = False,
    png: Annotated[Path | None, typer.Option(help="Draw the map with the found objects into this file")] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Least probability; default query.min_score")
    ] = None,
    max_objects: Annotated[int, typer.Option(min=0, help="0 = no limit")] = 0,
    negative: Annotated[list[str] | None, typer.Option(help="What it is not; may be repeated")] = None,
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Is it there, and where? Exit status 3 where nothing is found: the answer says whether it is absent or was not seen.

    Example: sab3r locate kitchen "the red mug on the table left of the door" --png mug.png
    """
    from sab3r_ros.cli.mapping import locate_in
    from sab3r_ros.maps import open_map

    opened = open_map(folder, settings=settings_of(config, overrides, checkpoint))
    answer = locate_in(opened, text, min_score, max_objects, negative or [], png)
    if as_json:
        print(json.dumps(answer))
    else:
        print(answer["says"])
        if answer["understood"] != text:
            print(f"understood as: {answer['understood']}")
        for item in answer["objects"]:
            print(
                f"{item['id']}: {item['probability']:.0%}, {item['points']} points, at {item['centroid']} m, size {item['size']} m"
            )
        if not answer["objects"]:
            print("try other words or a lower --min-score")
    if not answer["objects"]:
        raise typer.Exit(3)


@app.command("what")
def what_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A map written by `sab3r map` or ~/save_map")],
    where: Annotated[str, typer.Argument(help='Where: "on the table", "in the shelves and left of the sink"')] = "",
    at: Annotated[
        tuple[float, float, float] | None, typer.Option(metavar="X Y Z", help="A point of the map, in metres")
    ] = None,
    box: Annotated[
        tuple[float, float, float, float, float, float] | None,
        typer.Option(metavar="X Y Z X Y Z", help="A box of the map: two opposite corners, in metres"),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture: where was it taken, and what does it show?")] = None,
    as_json: JsonOption = False,
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """What is there? Things in a place, given in words, as a point, as a box or by a picture. Exit status 3 for nothing.

    Example: sab3r what kitchen "on the table"
    Another: sab3r what kitchen --image photo.jpg
    """
    from sab3r_ros.cli.what import in_words, what_is_there

    given = [value for value in (where, at, box, image) if value]
    if len(given) != 1:
        raise typer.BadParameter('give one place: words such as "on the table", --at, --box or --image')
    answer = what_is_there(folder, settings_of(config, overrides, checkpoint), where, at, box, image)
    print(json.dumps(answer) if as_json else in_words(answer))
    if not answer["things"] and not answer.get("recognised"):
        raise typer.Exit(3)


@app.command("view")
def view_command(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A map written by `sab3r map` or ~/save_map; with --live an input as `sab3r map` takes it",
        ),
    ],
    live: Annotated[
        bool, typer.Option(help="Map an input and show the map while it grows; ros:/camera/image_raw is that topic")
    ] = False,
    host: Annotated[
        str, typer.Option(help="127.0.0.1 = this machine alone; 0.0.0.0 = whoever reaches it, such as a phone")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one")] = 8080,
    out: Annotated[Path | None, typer.Option(help="Live: folder for the map; default: it is not saved")] = None,
    overwrite: Annotated[bool, typer.Option(help="Live: replace a map that is in the folder")] = False,
    rate: Annotated[float, typer.Option(min=0.01, help="Live: images per second where the input has no stamps")] = 10.0,
    limit: Annotated[int, typer.Option(min=0, help="Live: stop after this many frames; 0 = all")] = 0,
    depth: Annotated[bool, typer.Option(help="Live: use depth images and intrinsics where the input has them")] = False,
    topic: Annotated[str, typer.Option(help="Live: image topic of a bag that has several")] = "",
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Look at a map in the browser: ask it, click things, see keyframes, path and grasps (extra [view]).

    Example: sab3r view kitchen

    Example: sab3r view --live walk.mp4 --out kitchen
    """
    from sab3r_ros.cli.view import serve_live, serve_map

    settings = settings_of(config, overrides, checkpoint)
    if live:
        serve_live(folder, settings, host, port, out, rate, limit, depth, topic, overwrite)
    else:
        serve_map(Path(folder), settings, host, port)


@app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A map written by `sab3r map` or ~/save_map")],
    to: Annotated[str, typer.Option(help="ply, glb, las, copc, rrd, mcap or 3dtiles")],
    out: Annotated[
        Path | None, typer.Option(help="File, for 3dtiles a folder; default: DIR/map with the format's suffix")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what is there")] = False,
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Write a map for other programs: Rerun, Foxglove, CloudCompare, QGIS, Blender, Cesium (most need the extra [export]).

    Example: sab3r export kitchen --to glb
    """
    from sab3r_ros.maps import open_map

    saved = open_map(folder, settings=settings_of(config, overrides, checkpoint))
    print(saved.export(to, out or folder / ("tiles" if to == "3dtiles" else "map"), overwrite))


@app.command("objects")
def objects_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A map written by `sab3r map` or ~/save_map")],
    as_json: JsonOption = False,
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """List the things of a map, each with an id that stays: what it may be, where, how large, how often seen.

    Example: sab3r objects kitchen --json
    """
    from sab3r_ros.cli.mapping import describe_thing
    from sab3r_ros.maps import open_map

    things = [describe_thing(o) for o in open_map(folder, settings=settings_of(config, overrides, checkpoint)).objects]
    if as_json:
        print(json.dumps(things))
        return
    for item in things:
        names = ", ".join(f"{name} {share:.0%}" for name, share in item["labels"])
        print(
            f"{item['id']:>10}: {names}; at {item['centroid']} m, size {item['size']} m, {item['views']} views, {item['state']}"
        )


@app.command("afford", hidden=True)
@app.command("affordance")
def affordance_command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A saved map, or a file with one object (.ply, .pcd, .xyz, .npy, .obj, .stl ...)"
        ),
    ],
    affordance: Annotated[
        str, typer.Option(help='grasp, pour, open ... or a question: "where would you hold it?"')
    ] = "",
    image: Annotated[
        Path | None,
        typer.Option(help="An image prompt: the action on an object of the kind, beside words or instead of them"),
    ] = None,
    item: Annotated[str, typer.Option("--object", help="What to look for in the map")] = "",
    as_json: JsonOption = False,
    png: Annotated[Path | None, typer.Option(help="Draw the object, its scores and grasps into this file")] = None,
    min_score: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.4,
    max_regions: Annotated[int, typer.Option(min=0, help="0 = no limit")] = 0,
    gripper_width: Annotated[
        float, typer.Option(min=0.0, help="Opening of the gripper in metres; 0 = no limit")
    ] = 0.085,
    unit: Annotated[LengthUnit, typer.Option(help="Of a file's coordinates")] = LengthUnit.M,
    segmenter: Annotated[str, typer.Option(help="CAST checkpoint: a folder, or cast_tiny")] = "cast_tiny",
    checkpoint: CheckpointOption = "",
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Where an object can be grasped, opened, poured from: regions and grasps; exit status 3 where there is none.

    Example: sab3r affordance kitchen --object mug --affordance grasp --png mug.png
    """
    from sab3r_ros.cli.affordance import affordance_of

    settings = settings_of(config, overrides, checkpoint)
    answer = affordance_of(
        source, item, affordance, settings, segmenter, min_score, max_regions, gripper_width, png, image, unit.value
    )
    for note in answer["notes"]:
        print(note, file=sys.stderr)
    if as_json:
        print(json.dumps(answer))
    else:
        for k, region in enumerate(answer["regions"]):
            print(
                f"{k}: score {region['score']:.2f}, {region['points']} points, at {region['centroid']} m, {len(region['grasps'])} grasps"
                + (" (another part, which holds better than the asked one)" if region["fallback"] else "")
            )
        if not answer["regions"]:
            print(f"no part of it affords {affordance or image} with a score of {min_score}; try a lower --min-score")
    if not answer["regions"]:
        raise typer.Exit(3)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the map and its exports")] = Path("demo_output"),
    checkpoint: CheckpointOption = "",
    measure: Annotated[bool, typer.Option("--measure", help="Compare with the ground truth (extra [lab])")] = False,
    as_json: JsonOption = False,
) -> None:
    """Map the shipped sequence, look for some of its objects, and ask what they afford.

    Example: sab3r demo --out demo_output --measure
    """
    from sab3r_ros.cli.demo import run_demo

    print_metrics(run_demo(out, settings_of(None, None, checkpoint), measure), as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check the installation; exit status 1 where something needed is missing.

    Example: sab3r doctor --json
    """
    from sab3r_ros.cli.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([vars(f) for f in findings]))
    else:
        for item in findings:
            print(f"[{item.level:>7}] {item.name}: {item.text}")
    if any(f.level == "missing" for f in findings):
        raise typer.Exit(1)


@app.command("config")
def show_config(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Print every setting with its value and meaning, as YAML.

    Example: sab3r config --set window.size=4 > my.yaml
    """
    for name, info, value in dotted_fields(settings_of(config, overrides)):
        print(f"# {info.description}\n{name}: {json.dumps(value)}")
