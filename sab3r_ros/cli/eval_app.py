"""`sab3r eval`: the commands and their options; the work is done in `lab.evaluation`."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sab3r_ros.cli.kinds import Degradation, Kind
from sab3r_ros.cli.options import (
    CheckpointOption,
    ConfigOption,
    FirstOption,
    JsonOption,
    ReportOption,
    SetOption,
    page_of,
    print_metrics,
    settings_of,
)

evaluate = typer.Typer(no_args_is_help=True, help="Measure against ground truth.")


class Peer(str, Enum):
    """Other systems that can be run on the same images."""

    COLMAP = "colmap"


LimitOption = Annotated[int, typer.Option(min=0, help="The first so many; 0 = all")]


@evaluate.command("rooms")
def evaluate_rooms_command(
    rooms: Annotated[int, typer.Option(min=1, help="Number of held-out rooms")] = 10,
    frames: Annotated[int, typer.Option(min=4, help="Frames per room")] = 24,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Pose, depth and locate metrics on procedural rooms that no training has seen.

    Example: sab3r eval rooms --json
    """
    from sab3r_ros.lab.evaluation.commands import rooms_metrics

    page = page_of(report, "sab3r eval rooms")
    print_metrics(rooms_metrics(settings_of(config, overrides, checkpoint), rooms, frames, first), as_json, page)


@evaluate.command("household")
def evaluate_household_command(
    groups: Annotated[int, typer.Option(min=3, help="Groups of 2, 3 and 4 views, each of a held-out room")] = 48,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Poses, depth, Map and Locate, and synonyms on a few views of rooms that no training has seen.

    Example: sab3r eval household --groups 48 --json
    """
    from sab3r_ros.lab.evaluation.commands import household_metrics

    page = page_of(report, "sab3r eval household")
    print_metrics(household_metrics(settings_of(config, overrides, checkpoint), groups, first), as_json, page)


@evaluate.command("map-and-locate")
def evaluate_map_and_locate_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Scenes with poses, depth and labels: ScanNet's layout, or labels.json; none = made-up rooms",
        ),
    ] = None,
    groups: Annotated[int, typer.Option(min=1, help="Groups of made-up rooms, of 2, 3 and 4 views by turns")] = 48,
    each: Annotated[int, typer.Option(min=1, help="Groups of each size that are chosen from every scene of DIR")] = 2,
    manifest: Annotated[
        Path | None, typer.Option(help="JSON of the groups: read where it is, else written with the groups chosen")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write every group's figures into this folder as they come")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page: figures, groups, IoU by label, prediction beside truth")
    ] = None,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Map and Locate as the paper has it: groups of 2, 3 and 4 pictures, aligned by one true view.

    Example: sab3r eval map-and-locate FOLDER --manifest groups.json --json
    """
    from sab3r_ros.lab.evaluation.commands import map_and_locate_metrics

    settings = settings_of(config, overrides, checkpoint)
    print_metrics(map_and_locate_metrics(settings, folder, groups, first, each, manifest, out, report), as_json)


@evaluate.command("presence")
def evaluate_presence_command(
    recording: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Also ask a labelled recording in 7-Scenes' layout with labels.json"),
    ] = None,
    rooms: Annotated[int, typer.Option(min=1, help="Number of held-out rooms")] = 56,
    frames: Annotated[int, typer.Option(min=4, help="Frames per room")] = 12,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Is the thing there? Answers for what rooms have and for what they have not, beside the field's two baselines.

    Example: sab3r eval presence FOLDER --json
    """
    from sab3r_ros.lab.evaluation.commands import presence_metrics

    page = page_of(report, "sab3r eval presence")
    settings = settings_of(config, overrides, checkpoint)
    print_metrics(presence_metrics(settings, rooms, first, frames, recording, workers), as_json, page)


@evaluate.command("affordance")
def evaluate_affordance_command(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="LASO, or a setting of PIAD or PIADv2; none: household shapes"),
    ] = None,
    shapes: Annotated[int, typer.Option(min=1, help="Held-out shapes, whole, and as many from one side")] = 200,
    first: FirstOption = 0,
    segmenter: Annotated[str, typer.Option(help="CAST checkpoint: a folder, or cast_tiny")] = "cast_tiny",
    question: Annotated[int, typer.Option(min=0, max=14, help="Of LASO: which wording is asked")] = 0,
    words: Annotated[bool, typer.Option("--words", help="Of PIAD: ask in words instead of by images")] = False,
    y_up: Annotated[bool, typer.Option("--y-up", help="Turn the shapes: their y axis points up")] = False,
    limit: LimitOption = 0,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Affordance metrics by the peers' protocol, on household shapes that no training has seen or on a public data set.

    Example: sab3r eval affordance LASO_dataset --json
    """
    from sab3r_ros.lab.evaluation.commands import affordance_metrics, affordance_set_metrics

    page = page_of(report, "sab3r eval affordance")
    if folder is not None:
        print_metrics(affordance_set_metrics(segmenter, folder, limit, question, words, y_up), as_json, page)
        return
    print_metrics(affordance_metrics(segmenter, shapes, first), as_json, page)


@evaluate.command("scans")
def evaluate_scans_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Scanned objects: .npz with points, normals, affordance/NAME")
    ],
    segmenter: Annotated[str, typer.Option(help="CAST checkpoint: a folder, or cast_tiny")] = "cast_tiny",
    report: ReportOption = None,
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Draw every answer into this folder")] = None,
) -> None:
    """Affordance metrics on scanned objects, whole and from twelve sides.

    Example: sab3r eval scans FOLDER --json
    """
    from sab3r_ros.lab.evaluation.commands import scan_metrics

    page = page_of(report, "sab3r eval scans")
    print_metrics(scan_metrics(segmenter, folder, out), as_json, page)


@evaluate.command("grasps")
def evaluate_grasps_command(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="Objects: .npz with vertices, faces, convex parts, mass, rest; none = household objects"
        ),
    ] = None,
    noise: Annotated[
        float, typer.Option(min=0.0, max=0.02, help="Standard deviation of the clouds' points in metres")
    ] = 0.001,
    prompt: Annotated[str, typer.Option(help="What is asked")] = "grasp",
    tries: Annotated[int, typer.Option(min=1, help="Views of an object, for one and for two cameras")] = 2,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    first: FirstOption = 0,
    report: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Grasps tried in physics: does the object come up? The baseline from above runs beside it.

    Example: sab3r eval grasps FOLDER --json
    """
    from sab3r_ros.lab.evaluation.commands import grasp_metrics

    page = page_of(report, "sab3r eval grasps")
    print_metrics(grasp_metrics(folder, noise, prompt, tries, workers, first), as_json, page)


@evaluate.command("recording")
def evaluate_recording_command(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A posed RGB-D recording in 7-Scenes' layout; only its colour images are mapped"
        ),
    ],
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option(help="Also write the map and its preview here")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Pose and depth metrics on a real recording.

    Example: sab3r eval recording FOLDER --json
    """
    from sab3r_ros.lab.evaluation.commands import recording_metrics

    page = page_of(report, "sab3r eval recording")
    print_metrics(recording_metrics(settings_of(config, overrides, checkpoint), folder, out), as_json, page)


@evaluate.command("trajectory")
def evaluate_trajectory_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A recording with true poses: TUM, 7-Scenes, ScanNet, Replica or EuRoC"),
    ],
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=0, help="Images; 0 = all")] = 0,
    peer: Annotated[Peer | None, typer.Option(help="Also run this on the same images, its figures beside ours")] = None,
    degrade: Annotated[Degradation | None, typer.Option(help="Spoil the images first, as cheap cameras do")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the map and its preview here")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """The trajectory against the true one, live and adjusted, and surfaces against depth; only colour images are mapped.

    Example: sab3r eval trajectory FOLDER --json
    Without adjustment: sab3r eval trajectory FOLDER --set adjustment.enabled=false
    Beside COLMAP, which takes minutes: sab3r eval trajectory FOLDER --peer colmap
    """
    from sab3r_ros.lab.evaluation.commands import trajectory_metrics

    page = page_of(report, "sab3r eval trajectory")
    settings = settings_of(config, overrides, checkpoint)
    spoilt = "" if degrade is None else degrade.value
    print_metrics(trajectory_metrics(settings, folder, out, limit, peer == Peer.COLMAP, page, spoilt), as_json, page)


@evaluate.command("relations")
def evaluate_relations_command(
    rooms: Annotated[int, typer.Option(min=1, help="Held-out rooms")] = 10,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Questions such as "the mug on the table left of the door" to rooms of which it is known what every voxel is.

    Example: sab3r eval relations --rooms 10 --json
    """
    from sab3r_ros.lab.evaluation.commands import relations_metrics

    page = page_of(report, "sab3r eval relations")
    print_metrics(relations_metrics(settings_of(config, overrides, checkpoint), rooms, first), as_json, page)


@evaluate.command("identities")
def evaluate_identities_command(
    walks: Annotated[int, typer.Option(min=1, help="Walks through held-out rooms")] = 4,
    first: FirstOption = 0,
    frames: Annotated[int, typer.Option(min=20, help="Images of a walk")] = 200,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Whether things keep their ids while a map grows, is adjusted, saved and opened again.

    Example: sab3r eval identities --walks 4 --json
    """
    from sab3r_ros.lab.evaluation.commands import identities_metrics

    page = page_of(report, "sab3r eval identities")
    print_metrics(identities_metrics(settings_of(config, overrides, checkpoint), walks, first, frames), as_json, page)


@evaluate.command("sessions")
def evaluate_sessions_command(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A recording with true poses: TUM, 7-Scenes, ScanNet, Replica or EuRoC"),
    ],
    rooms: Annotated[int, typer.Option(min=0, help="Made-up rooms that must not be found in the recording's map")] = 10,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Saved maps that go on: two halves merged, the camera found in a map of before, and not found in one of another place.

    Example: sab3r eval sessions FOLDER --json
    """
    from sab3r_ros.lab.evaluation.commands import sessions_metrics

    page = page_of(report, "sab3r eval sessions")
    print_metrics(sessions_metrics(settings_of(config, overrides, checkpoint), folder, rooms), as_json, page)


@evaluate.command("loops")
def evaluate_loops_command(
    walks: Annotated[int, typer.Option(min=1, help="Long walks through held-out rooms")] = 20,
    oracle: Annotated[
        bool, typer.Option("--oracle", help="True depth with a network's kind of error in the network's place")
    ] = False,
    odometry: Annotated[
        bool, typer.Option("--odometry", help="With what a robot's wheels would say of every walk")
    ] = False,
    length: Annotated[float, typer.Option(min=3.0, max=500.0, help="Metres of every walk")] = 30.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with a walk")] = 2,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Long walks that return, mapped without adjustment and with it: what loops bring, and whether one is wrong.

    Example: sab3r eval loops --oracle --json
    """
    from sab3r_ros.lab.evaluation.commands import loops_metrics

    page = page_of(report, "sab3r eval loops")
    settings = settings_of(config, overrides, checkpoint)
    print_metrics(loops_metrics(settings, walks, first, oracle, length, workers, odometry), as_json, page)


@evaluate.command("depth")
def evaluate_depth_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="KITTI's depth_selection, or images with depth (NYU, ScanNet, ...)")
    ],
    limit: LimitOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Depth of single images: AbsRel and the share within a factor of 1.25.

    Example: sab3r eval depth kitti/depth_selection --json
    """
    from sab3r_ros.lab.evaluation.commands import depth_metrics

    page = page_of(report, "sab3r eval depth")
    print_metrics(depth_metrics(settings_of(config, overrides, checkpoint), folder, limit, page), as_json, page)


@evaluate.command("pose")
def evaluate_pose_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="CO3Dv2, one of its categories, or recordings with true poses")
    ],
    views: Annotated[int, typer.Option(min=2, max=50, help="Random pictures of every sequence")] = 10,
    limit: LimitOption = 0,
    first: FirstOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Relative poses of a few unordered pictures: RRA@15, RTA@15 and mAA(30).

    Example: sab3r eval pose co3d --limit 100 --json
    """
    from sab3r_ros.lab.evaluation.commands import pose_metrics

    page = page_of(report, "sab3r eval pose")
    print_metrics(pose_metrics(settings_of(config, overrides, checkpoint), folder, views, first, limit), as_json, page)


@evaluate.command("segmentation")
def evaluate_segmentation_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Pascal VOC 2012 (VOCdevkit) or ADE20K (ADEChallengeData2016)")
    ],
    background: Annotated[
        bool, typer.Option(help="Of VOC: what belongs to no class counts as one of its own, which 40 words stand for")
    ] = True,
    limit: LimitOption = 0,
    checkpoint: CheckpointOption = "",
    report: ReportOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Zero-shot segmentation of single images by names alone: mIoU over one confusion matrix.

    Example: sab3r eval segmentation VOCdevkit --json
    """
    from sab3r_ros.lab.evaluation.commands import segmentation_metrics

    page = page_of(report, "sab3r eval segmentation")
    settings = settings_of(config, overrides, checkpoint)
    print_metrics(segmentation_metrics(settings, folder, background, limit, page), as_json, page)


@evaluate.command("all")
def evaluate_all_command(
    kind: Annotated[Kind, typer.Argument(help="The evaluation")],
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders, as that evaluation takes them")],
    out: Annotated[Path, typer.Option(help="Folder for figures, summary.json and a page")],
    workers: Annotated[int, typer.Option(min=1, help="Folders at once on this machine")] = 2,
    cluster: Annotated[
        str,
        typer.Option(help='Ray (extra [cluster]): "local", "auto" or an address; empty = processes of this machine'),
    ] = "",
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs of a folder on the cluster, may be a fraction")] = 0.0,
    limit: LimitOption = 0,
    checkpoint: CheckpointOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """One evaluation over many folders, several at once; the same command goes on where it was stopped.

    Example: sab3r eval all trajectory 7scenes/*/seq-01 --out figures
    """
    from sab3r_ros.cli.eval_all import evaluate_all, table

    settings = settings_of(config, overrides, checkpoint)
    done = evaluate_all(kind, folders, out, settings, limit, workers, cluster, gpus)
    print(json.dumps(done) if as_json else table(done))
    if any(row["ended"] != "complete" for row in done["rows"]):
        raise typer.Exit(1)
