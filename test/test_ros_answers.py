"""Services of a node whose callbacks raise still answer."""

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import ListParameters, SetParameters, SetParametersAtomically

from erf_seg_ros.answers import answer_always

NO_TYPE = Parameter(name="speed", value=ParameterValue(type=99))


@pytest.fixture
def node(context):
    return rclpy.create_node("asked", context=context)


def ask(node, kind, **request):
    """What the node's service of that kind answers."""
    answer_always(node)
    (service,) = (service for service in node.services if service.srv_type is kind)
    return service.callback(kind.Request(**request), kind.Response())


def test_parameter_of_no_type_is_refused_and_those_before_it_are_set(node):
    node.declare_parameter("speed", 1)
    value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=2)
    good = Parameter(name="speed", value=value)
    results = ask(node, SetParameters, parameters=[good, NO_TYPE, good]).results
    assert [result.successful for result in results] == [True, False, False]
    assert "99 is not a valid" in results[1].reason
    assert node.get_parameter("speed").value == 2
    result = ask(node, SetParametersAtomically, parameters=[NO_TYPE]).result
    assert not result.successful
    assert "99 is not a valid" in result.reason


def test_parameters_are_listed_while_another_thread_takes_one_away(node):
    class Watched(str):
        """A name that has another parameter undeclared when rclpy looks at it."""

        def rfind(self, *_):
            return self._takes_away(-1)

        def __contains__(self, _):
            return self._takes_away(False)

        def _takes_away(self, answer):
            if node.has_parameter("gone"):
                node.undeclare_parameter("gone")
            return answer

        __hash__ = str.__hash__

    node.declare_parameter("gone", 1)
    node.declare_parameter(Watched("stays"), 1)
    node.declare_parameter("last", 1)
    names = ask(node, ListParameters).result.names
    assert {"stays", "last"} <= set(names)
    assert "gone" not in names
