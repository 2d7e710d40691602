"""The `sab3r` command."""

from sab3r_ros.runtime import share_the_cpu


def main() -> None:
    """Run the command line."""
    share_the_cpu()
    from sab3r_ros.cli.app import run

    run()
