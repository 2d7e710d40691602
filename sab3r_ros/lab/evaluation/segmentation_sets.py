"""Zero-shot segmentation of single images: Pascal VOC 2012 and ADE20K."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from sab3r_ros.faults import Faults
from sab3r_ros.lab.evaluation.map_and_locate import LabelScore
from sab3r_ros.lab.evaluation.report import Report
from sab3r_ros.lab.evaluation.segmentation_names import ADE20K, VOC, VOC_BACKGROUND
from sab3r_ros.lab.evaluation.stream import VOID
from sab3r_ros.models.base import Backend
from sab3r_ros.models.preprocess import framing_for, resize_and_crop
from sab3r_ros.query.map_query import MapQuery
from sab3r_ros.query.vocabulary import label_colours
from sab3r_ros.sources.base import SourceError
from sab3r_ros.sources.encodings import ImageError, decode_compressed
from sab3r_ros.sources.layouts import natural_order

_PICTURED = 30  # images on a page


@dataclass(frozen=True)
class LabelledImages:
    """Images with their label files. names: what a pixel may be called; classes: the number that each name counts as;
    table (256,): class of a value of the label files, VOID for those that are not counted."""

    pairs: list[tuple[Path, Path]]
    names: list[str]
    classes: np.ndarray
    table: np.ndarray


def labelled_images(folder: Path, background: bool = True) -> LabelledImages:
    """VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt) or ADE20K (images, annotations/validation).

    background: of VOC, whether pixels of no class count as a class of their own, which 40 words stand for (as in the published
    fragment of SAB3R's evaluation); otherwise they are left out, as MaskCLIP does. Raises SourceError.
    """
    for place in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        chosen = place / "ImageSets" / "Segmentation" / "val.txt"
        if chosen.is_file():
            names = chosen.read_text().split()
            pairs = [(place / "JPEGImages" / f"{n}.jpg", place / "SegmentationClass" / f"{n}.png") for n in names]
            return _voc(pairs, background)
    for place in (folder, folder / "ADEChallengeData2016"):
        images, labels = place / "images" / "validation", place / "annotations" / "validation"
        if images.is_dir() and labels.is_dir():
            files = natural_order(list(images.glob("*.jpg")))
            table = np.full(256, VOID)
            table[1 : len(ADE20K) + 1] = range(len(ADE20K))
            pairs = [(f, labels / f"{f.stem}.png") for f in files]
            return LabelledImages(pairs, list(ADE20K), np.arange(len(ADE20K)), table)
    raise SourceError(
        f"{folder} is neither Pascal VOC (JPEGImages, SegmentationClass, ImageSets/Segmentation/val.txt) nor ADE20K (images/validation, annotations/validation)"
    )


def _voc(pairs: list[tuple[Path, Path]], background: bool) -> LabelledImages:
    table = np.full(256, VOID)
    if not background:
        table[1 : len(VOC) + 1] = range(len(VOC))
        return LabelledImages(pairs, list(VOC), np.arange(len(VOC)), table)
    table[: len(VOC) + 1] = range(len(VOC) + 1)
    names = ["background", *VOC, *VOC_BACKGROUND]
    classes = np.array([*range(len(VOC) + 1), *[0] * len(VOC_BACKGROUND)])
    return LabelledImages(pairs, names, classes, table)


def evaluate_segmentation(
    backend: Backend, query: MapQuery, folder: Path, background: bool = True, limit: int = 0,
    report: Callable[[], None] = lambda: None, page: Report | None = None,
) -> dict:  # fmt: skip
    """miou and acc (percent) over one confusion matrix of all images; CLIP's 80 templates; the nearest name wins.

    Features are brought to the size of the label images, which are never resized. An image that cannot be read is named in
    "faults". page: gets pictures of the first ones. Raises SourceError where none can be evaluated.
    """
    started = time.perf_counter()
    data = labelled_images(folder, background)
    texts = query.embed(data.names)
    score, faults, count = LabelScore(int(data.classes.max()) + 1), Faults(), 0
    for image, file in data.pairs[: limit or None]:
        try:
            rgb = decode_compressed(image.read_bytes())
            true = _labels(file, data.table)
            if true.shape != rgb.shape[:2]:
                raise ImageError(
                    f"its labels are {true.shape[1]} x {true.shape[0]}, the image {rgb.shape[1]} x {rgb.shape[0]}"
                )
            predicted, seen = _named(backend, rgb, texts)
        except (ImageError, OSError, ValueError) as error:
            faults.add(image.name, error)
            continue
        score.add(true[seen].ravel(), data.classes[predicted].ravel())
        if page is not None and count < _PICTURED:
            page.picture(
                _beside(rgb[seen], data.classes[predicted], true[seen]), f"{image.name}: predicted and true classes"
            )
        count += 1
        report()
    if not count:
        raise SourceError(
            f"{folder}: no image could be evaluated; {faults.lines[0] if faults.lines else 'there is none'}"
        )
    return score.metrics() | {
        "images": count, "names": len(data.names), "faults": list(faults.lines), "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _labels(file: Path, table: np.ndarray) -> np.ndarray:
    """Classes (H,W) of a label image; palette images hold their numbers. Raises ImageError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            values = np.asarray(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ImageError(f"{file} cannot be read: {error}") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise ImageError(f"{file} is no image of label numbers ({values.dtype}, {values.shape})")
    return table[values]


@torch.inference_mode()
def _named(backend: Backend, rgb: np.ndarray, texts: torch.Tensor) -> tuple[np.ndarray, tuple[slice, slice]]:
    """The nearest text (h,w) of every pixel that the network sees, at the image's own size, and which pixels these are."""
    assert backend.features is not None
    plan = framing_for(backend.geometry, rgb)
    picture = resize_and_crop(rgb, plan)
    tokens = backend.geometry.encode(picture)
    features = backend.features.image_features(picture, backend.geometry.predict_pairs(tokens, [tokens]))
    cosines = torch.nn.functional.normalize(features.float().cpu(), dim=-1) @ texts.T
    rows, columns = plan.covered(rgb.shape[:2])
    size = columns.stop - columns.start, rows.stop - rows.start
    best, found = np.full(size[::-1], -np.inf, np.float32), np.zeros(size[::-1], np.int64)
    for k in range(len(texts)):  # one label at a time: all of them at the image's size would take gigabytes
        enlarged = cv2.resize(cosines[..., k].numpy(), size, interpolation=cv2.INTER_LINEAR)
        better = enlarged > best
        best[better], found[better] = enlarged[better], k
    return found, (rows, columns)


def _beside(rgb: np.ndarray, found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """An image with its predicted and true classes (H,W), a colour each; black where it does not count."""
    count = int(max(found.max(), true.max())) + 1
    colours = np.vstack([label_colours(count), np.zeros((1, 3), np.uint8)])  # VOID is the last one
    return np.hstack([rgb, colours[found], colours[true]])
