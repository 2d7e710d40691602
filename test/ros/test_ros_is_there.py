"""Says loudly whether the ROS tests can run at all."""


def test_ros_and_the_built_interfaces_are_importable(ros):
    from sab3r_ros.srv import LocateObject

    assert LocateObject.Response.SUCCESS == 0
