"""What a command says when it fails: one line, and with --debug the traceback too."""

import logging
import sys
import traceback
from collections.abc import Callable

from sab3r_ros.cli.interrupts import Interrupts

_EXTRAS = dict.fromkeys(("trimesh", "embreex", "lightning", "timm", "tensorboard", "mujoco", "sklearn"), "lab") | {
    "viser": "view",
    "pycolmap": "peers",
}
_FORESEEN = (ValueError, OSError)


def one_line(error: BaseException) -> str:
    """An error in one line; one that nobody foresaw with its kind and how to get the traceback."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, _FORESEEN) or type(error) is LookupError:  # KeyError and IndexError are mistakes of ours
        return text
    if isinstance(error, MemoryError):
        return "out of memory: use fewer or smaller images, or a smaller window.size"
    return f"unexpected {type(error).__name__}: {text} (--debug shows where)"


def run_command(command: Callable[[], None]) -> None:
    """Run a command; errors become one line on stderr and exit status 1, SIGTERM is taken as Ctrl-C."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        sys.argv.remove("--debug")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    for name in ("matplotlib", "PIL", "urllib3", "filelock", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with Interrupts():
            command()
    except KeyboardInterrupt:
        print("sab3r: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe has gone
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing in _EXTRAS:
            print(f"sab3r: this command needs {missing}: pip install 'sab3r_ros[{_EXTRAS[missing]}]'", file=sys.stderr)
        else:
            print(f"sab3r: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
