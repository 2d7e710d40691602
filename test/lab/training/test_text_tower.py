"""The compact text tower: synonyms, colours, templates, and that it can be trained again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sab3r_ros.lab.evaluation.household import SYNONYMS
from sab3r_ros.lab.synthetic.objects import LABELS
from sab3r_ros.lab.training.lexicon import SENSES, Likeness
from sab3r_ros.lab.training.text_tower import concept_codes, train_text_tower
from sab3r_ros.lab.training.wordnet import WordNet
from sab3r_ros.models.catalogue import ASSETS
from sab3r_ros.models.text import TextEncoder, text_encoder_for

WORDNET = Path("/usr/share/wordnet")
FOLDER = ASSETS / "sab3r_small" / "text"


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(f"local-dir:{FOLDER}")


def nearest(encoder, phrases):
    labels = encoder.encode_labels(LABELS)
    return [LABELS[i] for i in (encoder.encode_labels(phrases) @ labels.T).argmax(1).tolist()]


def test_labels_and_coloured_labels_land_on_their_label(encoder):
    assert nearest(encoder, LABELS) == list(LABELS)
    assert nearest(encoder, ["red mug", "blue chair", "a black sofa"]) == ["mug", "chair", "sofa"]


def test_words_that_are_no_labels_land_on_the_right_one(encoder):
    hits = [n == label for n, label in zip(nearest(encoder, list(SYNONYMS)), SYNONYMS.values(), strict=True)]
    assert np.mean(hits) >= 0.8
    assert not set(SYNONYMS) & set(LABELS)
    assert not set(SYNONYMS) & {word for senses in SENSES.values() for word, _ in senses}


def test_what_is_no_household_thing_is_near_no_label(encoder):
    labels = encoder.encode_labels(LABELS)
    things, others = (
        encoder.encode_labels(w) @ labels.T for w in (["couch", "fridge", "carpet"], ["elephant", "shirt", "violin"])
    )
    assert things.max(1).values.min() > others.max(1).values.max()


def test_one_template_or_all_of_them(encoder):
    one, many = encoder.encode_labels(["mug"], "a photo of a {}"), encoder.encode_labels(["mug"])
    assert torch.allclose(one.norm(dim=-1), torch.ones(1), atol=1e-5)
    assert float((one * many).sum()) > 0.8


def test_bad_requests_say_so(encoder):
    with pytest.raises(ValueError, match="must not be empty"):
        encoder.encode_labels([" "])
    with pytest.raises(ValueError, match="needs {}"):
        encoder.encode_labels(["mug"], "a photo")
    with pytest.raises(ValueError, match="cannot load the text encoder"):
        TextEncoder("local-dir:/nowhere")
    assert text_encoder_for(None) is None


DATA_NOUN = """\
  1 A licence text stands in front.
00000001 03 n 01 entity 0 000 | all there is
00000002 03 n 01 artifact 0 001 @ 00000001 n 0000 | made by people
00000003 06 n 02 sofa 0 couch 0 001 @ 00000002 n 0000 | an upholstered seat
00000004 06 n 01 chair 0 001 @ 00000002 n 0000 | a seat for one
00000005 06 n 01 office_chair 0 001 @ 00000004 n 0000 | a chair at a desk
"""
INDEX_NOUN = """\
  1 A licence text stands in front.
entity n 1 1 ~ 1 0 00000001
artifact n 1 2 @ ~ 1 0 00000002
sofa n 1 1 @ 1 0 00000003
couch n 1 1 @ 1 0 00000003
chair n 1 1 @ 1 0 00000004
office_chair n 1 1 @ 1 0 00000005
"""


@pytest.fixture
def dictionary(tmp_path):
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    (tmp_path / "index.noun").write_text(INDEX_NOUN)
    return tmp_path


def test_wordnet_files_are_read(dictionary, tmp_path):
    net = WordNet(dictionary)
    assert net.keys("Office Chair") == ["00000005"]
    assert net.keys("unicorn") == []
    assert net.senses["00000003"].words == ("sofa", "couch")
    assert net.ancestors("00000005") == {"00000005": 0, "00000004": 1, "00000002": 2, "00000001": 3}
    with pytest.raises(ValueError, match="has no data.noun"):
        WordNet(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="has no sense"):
        Likeness(net)


def test_codes_hardly_overlap_and_mix():
    codes = concept_codes(48)
    every = torch.cat([codes.labels, codes.colours, codes.other[None]])
    assert torch.allclose(every.norm(dim=1), torch.ones(len(every)), atol=1e-5)
    assert (every @ every.T - torch.eye(len(every))).abs().max() < 0.15
    red_mug = codes.target({"mug": 1.0}, "red")
    assert red_mug @ codes.labels[LABELS.index("mug")] > red_mug @ codes.colours[0] > 0.3
    assert torch.equal(codes.target({}), codes.other)


@pytest.mark.skipif(not WORDNET.is_dir(), reason=f"no WordNet at {WORDNET}")
def test_a_tower_can_be_trained_and_loaded(tmp_path):
    cosine = train_text_tower(tmp_path / "text", WORDNET, dim=48, width=8, steps=3, batch=8)
    assert -1 <= cosine <= 1
    assert TextEncoder(f"local-dir:{tmp_path / 'text'}").encode_texts(["mug"]).shape == (1, 48)
