"""Text encoders: labels in templates, and the tower on short sequences."""

import pytest
import torch

from sab3r_ros.config import Settings
from sab3r_ros.models.backends import load_feature_model


@pytest.fixture(scope="module")
def encoder():
    return load_feature_model(Settings().model).text_encoder()


@pytest.mark.parametrize(
    "label",
    ["mug", "game controller", "t-shirt", "3D printer", "TV", "USB-C hub", "a" * 300, "café au lait", "what?", "rock & roll", "don't", "…"],
)  # fmt: skip
def test_tokens_of_a_label_in_templates_are_those_of_the_sentences(encoder, label):
    sentences = encoder._tokenizer([make(label) for make in encoder._templates])
    assert torch.equal(encoder._in_templates(label), sentences)


def test_short_sequences_give_what_whole_ones_give(encoder):
    texts = ["mug", "a photo of the red mug on the table", "a " * 100]
    tokens = encoder._tokenizer(texts)
    with torch.inference_mode():
        whole = encoder._tower(tokens)
    assert (encoder.encode_texts(texts) - whole).abs().max() < 1e-5
    short = tokens[:2]
    assert (encoder._tower.encode(short) - whole[:2]).abs().max() < 1e-5


def test_labels_are_the_mean_of_their_sentences_in_their_order(encoder):
    labels = ["sofa", "a rather long name for a thing that nobody has", "cup"]
    expected = torch.stack(
        [encoder.encode_texts([make(label) for make in encoder._templates]).mean(0) for label in labels]
    )
    expected = torch.nn.functional.normalize(expected, dim=-1)
    assert (encoder.encode_labels(labels) - expected).abs().max() < 1e-5
