"""The command line in this process, which starts faster than one of its own."""

import contextlib
import io
import os
import sys
from types import SimpleNamespace

import pytest

from sab3r_ros.cli.app import run


def sab3r(*arguments, code=0, cwd=None):
    """What a command prints; fails the test where it ends with another status than `code`."""
    out, err = io.StringIO(), io.StringIO()
    status, before = 0, os.getcwd()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sab3r", *map(str, arguments)])
        os.chdir(cwd or before)
        try:
            run()
        except SystemExit as ended:
            status = ended.code or 0
        finally:
            os.chdir(before)
    assert status == code, err.getvalue()
    assert "Traceback" not in err.getvalue()
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())
