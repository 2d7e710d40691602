"""Which parts of the network a stage trains."""

from enum import Enum

_ENCODER = ("encoder.",)


class TrainableScope(str, Enum):
    """Everything; decoders and all heads beside a fixed encoder; or the feature heads alone, beside all the rest."""

    everything = "everything"
    decoders = "decoders"
    features = "features"

    def trains(self, parameter: str) -> bool:
        """Whether the network's parameter of this name is trained."""
        if self is TrainableScope.features:
            return ".clip_head." in parameter or ".dino_head." in parameter
        return not parameter.startswith(("mask_token", *(_ENCODER if self is TrainableScope.decoders else ())))
