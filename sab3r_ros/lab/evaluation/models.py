"""The models that an evaluation of answers in words needs."""

from sab3r_ros.config import Settings
from sab3r_ros.models.backends import load_backend
from sab3r_ros.models.base import Backend
from sab3r_ros.query.map_query import MapQuery, query_for


def searchable_models(settings: Settings) -> tuple[Backend, MapQuery]:
    """The models and their text encoder. Raises ValueError for a backend without text-aligned features."""
    backend = load_backend(settings.model, settings.window.size)
    query = query_for(backend.features, settings.query)
    if query is None:
        raise ValueError("this checkpoint has no text-aligned features, which this evaluation needs")
    return backend, query
