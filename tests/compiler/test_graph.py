"""The graph: replacing nodes, dropping dead ones, printing."""

import pytest
import torch
from heddle.arch.errors import HeddleError
from heddle.compiler.graph import Graph, Node, call_inputs, constant, map_nodes


def small_graph():
    x = Node("x", "input", [], (1, 3, 4))
    a = Node("a", "norm", [x], (1, 3, 4), "model.py:7: self.norm(x)", "layer.norm", {"epsilon": 0.5})
    b = Node("b", "linear", [a, x], (1, 3, 2), attributes={"weight": torch.zeros(2, 4)})
    return Graph([x, a, b], [b]), x, a, b


def test_rows_are_tokens_and_columns_features():
    node = Node("n", "norm", [], (1, 3, 4))
    assert (node.rows, node.columns, node.size) == (3, 4, 12)
    assert node.same_rows(Node("m", "norm", [], (3, 1, 4)))
    assert not node.same_rows(Node("m", "norm", [], (1, 4, 3)))


def test_attributes_read_as_fields():
    _, _, a, _ = small_graph()
    assert a.epsilon == 0.5
    with pytest.raises(AttributeError, match="norm node has no attribute 'weight'"):
        _ = a.weight


def test_replace_redirects_every_reader():
    graph, x, a, b = small_graph()
    new = a.turned_into("rows", [x], start=0)
    graph.replace(a, new)
    assert graph.nodes == [x, new, b] and b.inputs == [new, x]
    assert (new.name, new.source, new.layer) == ("a", a.source, "layer.norm")


def test_replacing_the_output_moves_it():
    graph, _, a, b = small_graph()
    graph.replace(b, a)
    assert graph.output is a


def test_without_dead_keeps_inputs_and_what_the_output_needs():
    graph, x, a, _ = small_graph()
    other = Node("unused", "input", [], (1, 2))
    graph.nodes.insert(0, other)
    graph.outputs = [a]
    assert graph.without_dead().nodes == [other, x, a]


def test_only_user_is_none_for_the_output_and_for_several_readers():
    graph, x, a, b = small_graph()
    assert graph.only_user(a) is b
    assert graph.only_user(x) is None and graph.only_user(b) is None


def test_it_prints_shapes_attributes_and_the_users_line():
    graph, *_ = small_graph()
    lines = str(graph).splitlines()
    assert lines[1] == "a: 1×3×4 = norm(x) {epsilon=0.5}  # model.py:7: self.norm(x)"
    assert lines[2] == "b: 1×3×2 = linear(a, x) {weight=[2×4]}"
    assert lines[-1] == "return b"


def test_a_refusal_names_operator_shape_and_line():
    _, _, a, _ = small_graph()
    error = a.refuse("because")
    assert isinstance(error, HeddleError)
    assert str(error) == "norm of shape (1, 3, 4) in layer.norm at model.py:7: self.norm(x): because"


def test_nodes_in_nested_arguments_are_found_and_replaced():
    x, y = constant("x", torch.zeros(1)), constant("y", torch.ones(1))
    assert call_inputs([[x, [y, 3]], {"k": x}]) == [x, y]
    assert map_nodes([x, {"k": (y, 2)}], lambda node: node.name) == ["x", {"k": ("y", 2)}]


def test_what_a_node_is_turned_into_may_have_no_dimension():
    assert Node("a", "aten.sum", [], (1, 3)).turned_into("sum", [], ()).shape == ()
    assert Node("a", "aten.relu", [], (1, 3)).turned_into("relu", []).shape == (1, 3)
