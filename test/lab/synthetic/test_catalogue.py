"""Designers' models: read from their libraries, packed, and put into rooms with textures and labels."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sab3r_ros.lab.synthetic.catalogue import Catalogue, label_of, pack_catalogue
from sab3r_ros.lab.synthetic.objects import BUILDERS, LABELS
from sab3r_ros.lab.synthetic.sequence import render_sequence

# A table: a textured top and a green leg, y up as Sweet Home 3D has it.
_OBJ = """mtllib table.mtl
v -1 1 -1
v 1 1 -1
v 1 1 1
v -1 1 1
v 0.1 0 0
v -0.1 0 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl top
f 1/1 2/2 3/3
f 1/1 3/3 4/4
usemtl leg
f 5/1 6/2 7/3
f 6/1 5/2 7/3
"""
_MTL = "newmtl top\nKd 1 1 1\nmap_Kd wood.png\nnewmtl leg\nKd 0 0.8 0\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "test.sh3f"
    image = io.BytesIO()
    Image.fromarray(np.tile(np.array([[200, 30, 30], [30, 30, 200]], np.uint8)[None], (2, 1, 1))).save(image, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        lines = []
        for number, name in enumerate(("Coffee table", "Table fan", "Table"), 1):
            model = "/lib/table/table.obj" if number < 3 else "/lib/missing/none.obj"
            lines += [f"name#{number}={name}", f"category#{number}=Living room", f"model#{number}={model}"]
            lines += [f"width#{number}=120", f"depth#{number}=60", f"height#{number}=45"]
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(lines))
        archive.writestr("lib/table/table.obj", _OBJ)
        archive.writestr("lib/table/table.mtl", _MTL)
        archive.writestr("lib/table/wood.png", image.getvalue())
    return path


@pytest.fixture(scope="module")
def catalogue(library):
    packed = library.with_name("furniture.npz")
    assert pack_catalogue([library], packed, 1) == 1  # a fan is no table, and a missing model is left out
    return Catalogue(packed)


@pytest.mark.parametrize(
    ("name", "category", "label"),
    [
        ("Coffee table", "Living room", "table"), ("Table fan", "Miscellaneous", ""), ("Bedside table", "Bedroom", "drawers"),
        ("Sofa 3 seats", "Living room", "sofa"), ("Knife stand", "Kitchen", ""), ("Bench", "Exterior", ""), ("Washbasin", "Bathroom", "sink"),
        ("Wall flat TV", "Living room", "television"), ("Male", "Characters", ""),
    ],
)  # fmt: skip
def test_names_lead_to_labels(name, category, label):
    assert label_of(name, category) == label
    assert not label or label in BUILDERS


def test_a_model_has_its_size_colours_and_top(catalogue):
    part, colour = catalogue.part("table", np.random.default_rng(0))
    vertices, faces = part.mesh()
    assert np.ptp(vertices, axis=0) == pytest.approx([0.6, 1.2, 0.45], rel=0.2)  # x towards the front: the depth
    assert vertices[:, 2].min() == pytest.approx(0, abs=1e-6)
    own = part.face_colours()
    assert len(own.colour) == len(faces) == 4
    assert sorted(own.texture.tolist()) == [-1, -1, 0, 0]
    assert (own.colour[own.texture == -1].argmax(-1) == 1).all()
    assert part.model.top[1, 2] == pytest.approx(vertices[:, 2].max(), abs=1e-6)
    assert colour in ("red", "blue", "purple", "brown")


def test_rooms_with_models_show_their_textures_under_their_labels(catalogue):
    for seed in range(900_060_100, 900_060_140):
        sequence = render_sequence(seed, 2, 96, 72, catalogue=catalogue)
        own = sequence.room.face_colours
        if own is None:
            continue
        models = [k for k, p in enumerate(sequence.room.parts) if p.face_colours() is not None]
        seen = [(v, np.isin(v.part, models)) for v in sequence.views]
        if max(m.sum() for _, m in seen) > 40:
            assert all((v.label[m] == LABELS.index("table")).all() for v, m in seen)
            return
    pytest.fail("no room showed a model")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.npz").write_text("no")
    with pytest.raises(ValueError, match="sab3r train furniture"):
        Catalogue(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="no furniture library"):
        pack_catalogue([tmp_path / "x.npz"], tmp_path / "y.npz", 1)
