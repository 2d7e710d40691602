"""The map's unit, from what measures it: odometry, else the camera's height. Depth images measure every frame, see `MapState`."""

import logging
from typing import TYPE_CHECKING

import numpy as np

from sab3r_ros.mapping.camera_height import unit_by_height
from sab3r_ros.types import Scale, ScaleSource

if TYPE_CHECKING:
    from sab3r_ros.mapping.mapper import Mapper
    from sab3r_ros.mapping.state import MapState

_LOG = logging.getLogger("sab3r_ros")
_WORTH_RESCALING = 0.03  # of the log of the map's unit


def measure_unit(mapper: "Mapper", state: "MapState") -> str:
    """Give the map the unit that is measured, where something has to say; returns a note where it is doubted. Under the lock.

    Depth images know better, and what came from the file of an older release cannot follow.
    """
    measured, by = state.odometry.measure(state.graph), "odometry"
    if state.has_depth or state.held:
        return state.odometry.doubt
    if measured is None and mapper.camera_height and (state.upright or mapper.up_is_known):
        measured, by = unit_by_height(state.graph.keyframes, mapper.camera_height), "the camera's height"
    if measured is None:
        return state.odometry.doubt
    if abs(np.log(measured.metres)) > max(_WORTH_RESCALING, measured.stddev):
        state.rescale(measured.metres)
        state.move_voxels(state.lagging())
        mapper.revision += 1
        _LOG.info("the map's unit was changed by a factor of %.2f: %s tells it", measured.metres, by)
    state.scale = Scale(ScaleSource.MEASURED, measured.stddev)
    return ""
