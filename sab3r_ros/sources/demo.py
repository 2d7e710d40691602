"""The built-in sequence: a walk through a procedural room that no training has seen, with ground truth."""

from collections.abc import Iterator

from sab3r_ros.mapping.frames import Frame, nth_stamp
from sab3r_ros.sources.readers import Source, SourceError

DEMO_SEED = 900_050_007  # among the held-out rooms; chosen because its walk shows several pieces of furniture
_FRAMES, _SIZE, _SWEEP = 48, (320, 240), 1.3


class DemoSource(Source):
    """Rendered when opened; `sequence` holds the truth. Needs the synthetic extra (trimesh, embreex)."""

    def __init__(self, seed: int = 0, rate: float = 10.0):
        super().__init__(f"demo:{seed}")
        try:
            from sab3r_ros.synthetic.sequence import render_sequence
        except ImportError as error:
            raise SourceError(f"the built-in sequence needs {error.name}: pip install embreex trimesh") from error
        self.rate = rate
        self.sequence = render_sequence(DEMO_SEED + seed, _FRAMES, *_SIZE, _SWEEP)

    def __len__(self) -> int:
        return len(self.sequence.views)

    def __iter__(self) -> Iterator[Frame]:
        for k, view in enumerate(self.sequence.views):
            yield Frame(view.rgb, nth_stamp(k, self.rate))
