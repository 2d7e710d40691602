"""`--help` of the executables, and arguments that mean nothing."""

import sys
from collections.abc import Sequence

from rclpy.utilities import remove_ros_args

from sab3r_ros.config import Group, dotted_fields


def help_text(name: str, summary: str, groups: Sequence[type[Group]], argument: str = "") -> str:
    """What `--help` prints: how to start the executable, and its parameters with their defaults."""
    given = f" [{argument}]" if argument else ""
    lines = [
        f"usage: ros2 run sab3r_ros {name}{given} [--ros-args -p NAME:=VALUE ... -r FROM:=TO ... --params-file FILE]", "", summary, "",
        "parameters:",
    ]  # fmt: skip
    for group in groups:
        lines += [f"  {field} (default {value!r}): {info.description}" for field, info, value in dotted_fields(group)]
    return "\n".join(lines)


def arguments_of(
    name: str, summary: str, groups: Sequence[type[Group]], args: Sequence[str] | None = None, argument: str = ""
) -> list[str]:
    """The arguments that are not ROS's, at most one where `argument` names it, else none.

    `--help` prints the help and ends; anything else that means nothing ends with exit status 2 and one line.
    """
    rest = remove_ros_args(list(sys.argv if args is None else args))[1 if args is None else 0 :]
    if "-h" in rest or "--help" in rest:
        print(help_text(name, summary, groups, argument))
        sys.exit(0)
    plain = [text for text in rest if not text.startswith("-")]
    if len(plain) != len(rest) or len(plain) > bool(argument):
        wrong = next((text for text in rest if text.startswith("-")), plain[-1])
        print(
            f"{name}: what is {wrong!r}? Parameters are given as --ros-args -p NAME:=VALUE (see --help)",
            file=sys.stderr,
        )
        sys.exit(2)
    return plain
