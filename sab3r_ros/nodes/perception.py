"""`semantic_mapper` and `affordance_server` in one process: one Python, one GPU context."""

from sab3r_ros.config import Settings
from sab3r_ros.nodes import parameters
from sab3r_ros.nodes.affordance_server import AffordanceServerNode
from sab3r_ros.nodes.lifecycle import run_nodes
from sab3r_ros.nodes.semantic_mapper import SemanticMapperNode
from sab3r_ros.nodes.usage import arguments_of


def main(args=None) -> None:
    """Run both nodes until the process is told to end."""
    summary = "semantic_mapper and affordance_server in one process."
    groups = (Settings, parameters.MapperNodeSettings, parameters.AffordanceServerSettings)
    arguments_of("perception", summary, groups, args)
    run_nodes([SemanticMapperNode, AffordanceServerNode], "perception", args)


if __name__ == "__main__":
    main()
