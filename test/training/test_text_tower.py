"""The compact text tower: synonyms, colours, templates, and that it can be trained again."""

import pytest
import torch

from sab3r_ros.models.text import TextEncoder, text_encoder_for
from sab3r_ros.models.weights import ASSETS
from sab3r_ros.synthetic.objects import LABELS
from sab3r_ros.training.text_tower import SYNONYMS, train_text_tower

FOLDER = ASSETS / "sab3r_tiny" / "text"


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder(f"local-dir:{FOLDER}")


def nearest(encoder, phrases):
    labels = encoder.encode_labels(LABELS)
    return [LABELS[i] for i in (encoder.encode_labels(phrases) @ labels.T).argmax(1).tolist()]


def test_every_label_synonym_and_coloured_phrase_lands_on_its_label(encoder):
    assert nearest(encoder, LABELS) == list(LABELS)
    pairs = [(s, label) for label, words in SYNONYMS.items() for s in words]
    hits = sum(n == label for n, (_, label) in zip(nearest(encoder, [s for s, _ in pairs]), pairs, strict=True))
    assert hits / len(pairs) > 0.9
    assert nearest(encoder, ["red mug", "blue chair", "a black sofa"]) == ["mug", "chair", "sofa"]


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


def test_a_tower_can_be_trained_and_loaded(tmp_path):
    cosine = train_text_tower(tmp_path / "text", dim=48, width=8, steps=3, batch=8)
    assert -1 <= cosine <= 1
    assert TextEncoder(f"local-dir:{tmp_path / 'text'}").encode_texts(["mug"]).shape == (1, 48)
