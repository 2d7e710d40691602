import pytest

from sab3r_ros.lab.synthetic.sequence import render_sequence


@pytest.fixture(scope="session")
def walk():
    """Twenty views of a held-out room, 128 x 96."""
    return render_sequence(900_060_147, 20, 128, 96, 1.2)
