"""The compiler's graph: nodes in execution order, each with its shape and the line of the user's model it came from.

A node starts as a call of a PyTorch operator, captured as it is; passes replace calls by the operators of `ops/`, until
none is left. Constants are nodes too. Values have a batch dimension of 1 in front, as in the user's model; from `fuse`
on, everything is rows × columns, where a row is a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..arch.errors import HeddleError, Refusal, all_of
from ..arch.host import Argument, Step
from .precision import PrecisionRule


@dataclass(eq=False)
class Node:
    """One operator: `op` is "input", "constant", "rearrange", the name of a PyTorch operator or of one in `ops/`.

    A PyTorch call keeps `target`, `args` and `kwargs` (in which other nodes stand for their values) in `attributes`;
    `inputs` then lists the nodes in them. One with several results has their count in `results`, and no shape. A
    constant keeps its `value`, and in `made_of` the names that the model has for what it is made of.
    """

    name: str
    op: str
    inputs: list[Node]
    shape: tuple[int, ...]
    source: str = ""  # "file.py:12: code" of the user's model
    layer: str = ""  # path of the module in the user's model, such as "layers.0.mlp"
    attributes: dict[str, Any] = field(default_factory=dict)
    integer: bool = False  # whether it has whole numbers: ids, places
    truth: bool = False  # whether its numbers are 1 and 0, for true and false
    host: bool = False  # whether it depends on whole numbers and truth alone: the host can compute it before a launch

    def __getattr__(self, name: str) -> Any:
        """Attributes read as node.weight."""
        try:
            return self.__dict__["attributes"][name]
        except KeyError:
            raise AttributeError(f"{self.__dict__.get('op')} node has no attribute {name!r}") from None

    @property
    def rows(self) -> int:
        """Tokens, when the value is seen as rows × columns."""
        return torch.Size(self.shape[:-1]).numel()

    @property
    def columns(self) -> int:
        """Features of a token."""
        return self.shape[-1] if self.shape else 1

    @property
    def size(self) -> int:
        """Elements."""
        return torch.Size(self.shape).numel()

    def same_rows(self, other: Node) -> bool:
        """Whether two values have the same rows × columns."""
        return (self.rows, self.columns) == (other.rows, other.columns)

    def turned_into(self, op: str, inputs: list[Node], shape: tuple[int, ...] | None = None, **attributes: Any) -> Node:
        """A node that does the work of this one in another way. It remembers the PyTorch operator for messages."""
        attributes = {"call": self.attributes.get("call", self.op), **attributes}
        shape = self.shape if shape is None else shape
        kind = self.integer, self.truth, self.host
        return Node(self.name, op, inputs, shape, self.source, self.layer, attributes, *kind)

    def refuse(self, reason: str, kind: type[HeddleError] = HeddleError) -> HeddleError:
        """The error for a node that cannot be lowered."""
        what = self.attributes.get("call", self.op) + (f" {self.name}" if self.op == "input" else "")
        results = self.attributes.get("results")
        given = f"shape {self.shape}" if results is None else f"{results} results"
        place = (f" in {self.layer}" if self.layer else "") + (f" at {self.source}" if self.source else "")
        error = kind(f"{what} of {given}{place}: {reason}")
        error.refusal = Refusal(self.name, what, self.shape, tuple(each.shape for each in self.inputs), self.layer,
                                self.source, reason)  # fmt: skip
        return error

    def __str__(self) -> str:
        shown = {
            key: value for key, value in self.attributes.items() if key not in ("target", "args", "kwargs", "call")
        }
        extra = [f"{key}={_short(value)}" for key, value in shown.items()]
        inputs = ", ".join(node.name for node in self.inputs)
        text = f"{self.name}: {'×'.join(map(str, self.shape))} = {self.op}({inputs})"
        return text + (f" {{{', '.join(extra)}}}" if extra else "") + (f"  # {self.source}" if self.source else "")


@dataclass
class Graph:
    """Nodes in an order in which they can be executed, and those whose values the model returns, under these names.
    A result without one is for the next segment."""

    nodes: list[Node]
    outputs: list[Node]
    names: list[str | None] = field(default_factory=lambda: ["output"])
    host: list[Step] = field(default_factory=list)  # what the host makes of the arguments, for inputs of these names
    arguments: list[Argument] = field(default_factory=list)  # what a caller gives; none: the inputs
    left_out: dict[str, str] = field(default_factory=dict)  # what else the model returns: its path → its type
    problems: dict[Node, HeddleError] = field(default_factory=dict)  # what was refused, until all is known and raised
    rule: PrecisionRule = field(default_factory=PrecisionRule)  # which precision a layer has

    @property
    def output(self) -> Node:
        """The first result."""
        return self.outputs[0]

    @property
    def inputs(self) -> list[str]:
        """The names of the inputs."""
        return [node.name for node in self.nodes if node.op == "input"]

    def require_possible(self) -> None:
        """Raise HeddleError that names all that was refused."""
        if self.problems:
            order = {node: place for place, node in enumerate(self.nodes)}
            raise all_of(self.problems[node] for node in sorted(self.problems, key=lambda each: order.get(each, 0)))

    def users(self, node: Node) -> list[Node]:
        """The nodes that read `node`, once each."""
        return [user for user in self.nodes if node in user.inputs]

    def only_user(self, node: Node) -> Node | None:
        """The one node that reads `node`; None if there are several, or if it is the output."""
        users = self.users(node)
        return users[0] if len(users) == 1 and node not in self.outputs else None

    def replace(self, old: Node, new: Node) -> None:
        """Let every reader of `old` read `new`, and put `new` in its place, if it has none yet."""
        if new not in self.nodes:
            self.nodes[self.nodes.index(old)] = new
        for user in self.nodes:
            if user is not new and old in user.inputs:
                user.inputs = [new if each is old else each for each in user.inputs]
                for key in ("args", "kwargs"):
                    if key in user.attributes:
                        user.attributes[key] = map_nodes(user.attributes[key], lambda n: new if n is old else n)
        self.outputs = [new if each is old else each for each in self.outputs]

    def insert_after(self, place: Node, node: Node) -> None:
        """Put `node` right behind `place`."""
        self.nodes.insert(self.nodes.index(place) + 1, node)

    def without_dead(self) -> Graph:
        """The graph with only what the output needs, and all inputs."""
        needed, stack = set(self.outputs), list(self.outputs)
        while stack:
            for node in stack.pop().inputs:
                if node not in needed:
                    needed.add(node)
                    stack.append(node)
        nodes = [node for node in self.nodes if node in needed or node.op == "input"]
        return replace(self, nodes=nodes)

    def copy(self) -> Graph:
        """The same of nodes of its own, which can be changed; what their attributes hold but nodes is shared."""
        found: dict[Node, Node] = {}

        def copied(node: Node) -> Node:
            if node not in found:
                found[node] = replace(node, inputs=[], attributes={})
                found[node].inputs = [copied(each) for each in node.inputs]
                found[node].attributes = map_nodes(node.attributes, copied)
            return found[node]

        nodes, outputs = [copied(node) for node in self.nodes], [copied(node) for node in self.outputs]
        return replace(self, nodes=nodes, outputs=outputs, names=[*self.names], host=[*self.host],
                       problems={copied(node): each for node, each in self.problems.items()})  # fmt: skip

    def __iter__(self) -> Iterator[Node]:
        return iter(list(self.nodes))

    def __str__(self) -> str:
        result = f"return {', '.join(node.name for node in self.outputs)}"
        return "\n".join([str(node) for node in self.nodes if node.op != "constant"] + [result])


def constant(name: str, value: Tensor, made_of: Sequence[str] = ()) -> Node:
    """A node for a known value."""
    integer = not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
    attributes = {"value": value, "made_of": list(made_of)}
    truth = value.dtype == torch.bool
    return Node(name, "constant", [], tuple(value.shape), attributes=attributes, integer=integer, truth=truth)


def refuse_in(problems: dict[Node, HeddleError], node: Node, reason: str) -> None:
    """Let a call stand for one that cannot be lowered. Where it only follows from another one that is refused, that one
    is what to tell."""
    if not any(each.op == "refused" for each in node.inputs):
        problems[node] = node.refuse(reason)
    node.attributes["call"], node.op = node.attributes.get("call", node.op), "refused"


def map_nodes(structure: Any, function: Callable[[Node], Any]) -> Any:
    """A copy of nested lists, tuples and dicts with `function` applied to each node in it."""
    if isinstance(structure, Node):
        return function(structure)
    if isinstance(structure, (list, tuple)):
        return type(structure)(map_nodes(each, function) for each in structure)
    if isinstance(structure, dict):
        return {key: map_nodes(value, function) for key, value in structure.items()}
    return structure


def call_inputs(structures: Iterable[Any]) -> list[Node]:
    """The nodes in arguments, in order, once each."""
    found: dict[Node, None] = {}
    map_nodes(list(structures), lambda node: found.setdefault(node))
    return list(found)


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"[{'×'.join(map(str, value.shape))}]"
    if isinstance(value, (list, tuple)):
        return f"({', '.join(_short(each) for each in value)})"
    if isinstance(value, dict):
        return f"({', '.join(f'{key}: {_short(each)}' for key, each in value.items())})"
    return getattr(value, "name", None) or str(value)
