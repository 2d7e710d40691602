"""`python -m sab3r_ros.cli`, as torchrun starts it."""

from sab3r_ros.cli import main

main()
