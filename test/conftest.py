"""Shared fixtures: recorded reference data, and the optional real recordings."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# What this machine's user fetched or exported is no part of a test.
os.environ["SAB3R_MODELS"] = str(ROOT / "build" / "no_models")

# The same examples in every run, and none fails for being slow on a busy machine; `pytest --hypothesis-profile search`
# draws new ones.
settings.register_profile("repeat", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None)
settings.load_profile("repeat")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that ask for it are skipped where it is absent."""
    path = Path(os.environ.get("SAB3R_DATA", ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real recordings not found at {path}; set SAB3R_DATA")
    return path
