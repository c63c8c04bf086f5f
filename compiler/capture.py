"""From a PyTorch module to a graph: torch.export, functionalised but not decomposed further.

Parameters on the device "meta" have no bytes, which is all that timing needs. torch.export gets stand-ins for them that
claim to be on the CPU, so that they may meet tables that are there; in the graph they are constants on "meta" again.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import fields, is_dataclass
from functools import wraps
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from ..arch.errors import CaptureError, HeddleError, require_type
from .graph import Graph, Node, call_inputs, constant, refuse_in
from .rearrange import VIEWS
from .rules import RULES

Inputs = Sequence[Tensor] | Mapping[str, Tensor]  # arguments of forward by place, or by name
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range",
           "with_effects")  # fmt: skip


def capture(model: nn.Module, example_inputs: Inputs) -> Graph:
    """The graph of `model.forward`, in evaluation mode, for inputs of these shapes.

    Parameters and buffers of the model may be on "meta"; the inputs must not be, but only their shapes and types count.
    Results may be nested in tuples, lists, dicts and dataclasses: they are tensors in order, named by their places and
    keys. What else a model returns, such as the object of a cache, is left out, and named in `left_out`.
    Raises HeddleError for a model that torch.export cannot trace, and for a shape that depends on data.
    """
    require_model(model)
    left_out: dict[str, str] = {}
    with _tensors_alone(model, left_out):
        exported = export(model, example_inputs)
        _require_as_called(model, exported, example_inputs)
    kinds = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
    if changed := _changed(exported, kinds):
        raise HeddleError(f"{type(model).__name__} must change no buffer, but changes {changed[0]}")
    nodes, problems = calls(exported)
    paths = _paths(exported)
    own = exported.graph.output_node().args[0][-len(paths) :] if paths else ()  # type: ignore[index]
    results = zip(own, paths, strict=True)  # type: ignore[arg-type]
    found = [(nodes[node], path) for node, path in results if isinstance(node, fx.Node)]
    if not found:
        raise HeddleError(f"{type(model).__name__} must return a tensor")
    outputs, names = [node for node, _ in found], [path for _, path in found]
    return Graph(list(nodes.values()), outputs, [*names], left_out=left_out, problems=problems)


def calls(exported: ExportedProgram) -> tuple[dict[fx.Node, Node], dict[Node, HeddleError]]:
    """The nodes of all that is computed, and which of them are refused, with the reason."""
    kinds = {spec.arg.name: spec for spec in exported.graph_signature.input_specs}
    nodes: dict[fx.Node, Node] = {}
    problems: dict[Node, HeddleError] = {}
    for each in exported.graph.nodes:
        if each.op == "placeholder" and kinds[each.name].kind is not InputKind.TOKEN:
            nodes[each] = placeholder(each, kinds[each.name], exported)
        elif (each.op == "call_function" and not any(check in str(each.target) for check in _CHECKS)
              and set(each.all_input_nodes) <= nodes.keys()):  # else it orders checks  # fmt: skip
            nodes[each] = _call(each, nodes, problems)
    return nodes, problems


_SAME = ("to", "_to_copy", "clone", "detach", "alias", "contiguous", "lift_fresh", "lift_fresh_copy")


_WRITES = (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION, OutputKind.USER_INPUT_MUTATION)


def _changed(exported: ExportedProgram, kinds: dict[str, Any]) -> list[str]:
    """The buffers and inputs that forward writes to; not those that only get their own numbers again."""
    results = exported.graph.output_node().args[0]
    changed = []
    for spec, result in zip(exported.graph_signature.output_specs, results, strict=True):  # type: ignore[arg-type]
        if spec.kind not in _WRITES:
            continue
        while isinstance(result, fx.Node) and isinstance(result.target, OpOverload) and _name(result.target) in _SAME:
            result = result.args[0]
        read = kinds.get(getattr(result, "name", ""))
        if read is None or read.target != spec.target:
            changed.append(str(spec.target))
    return changed


def _paths(exported: ExportedProgram) -> list[str]:
    """What the results are called: by their keys and places in what the model returns; a single one has no name."""
    spec = exported.call_spec.out_spec
    assert spec is not None, "torch.export always says how results are nested"
    return [path for path, _ in leaves(pytree.tree_unflatten(range(spec.num_leaves), spec))]


def leaves(results: Any) -> list[tuple[str, Any]]:
    """What is nested in the results of a model, each with its path of keys and places, such as "hidden_states.0"."""
    found = pytree.tree_flatten_with_path(plain(results))[0]
    return [(".".join(_key(part) for part in path), leaf) for path, leaf in found]


def _key(part: Any) -> str:
    """Of a dict, a list or a named tuple."""
    return str(getattr(part, "key", getattr(part, "idx", getattr(part, "name", part))))


def plain(results: Any) -> Any:
    """Dicts for dataclasses and mappings of any kind; the rest as it is."""
    if type(results) in (tuple, list):
        return [plain(each) for each in results]
    if is_dataclass(results) and not isinstance(results, type):
        results = {each.name: getattr(results, each.name) for each in fields(results)}
    if isinstance(results, Mapping):
        return {key: plain(value) for key, value in results.items() if value is not None}
    return results


@contextmanager
def _tensors_alone(model: nn.Module, left_out: dict[str, str]) -> Iterator[None]:
    """While this holds, forward returns nothing but tensors and numbers. `left_out` gets path → type of other things,
    which torch.export would refuse."""
    before, forward = model.__dict__.get("forward"), model.forward

    @wraps(forward)
    def alone(*args: Any, **kwargs: Any) -> Any:
        results = plain(forward(*args, **kwargs))
        others = {path: type(leaf).__name__ for path, leaf in leaves(results) if not _is_plain_result(leaf)}
        left_out.update(others)
        return pytree.tree_map(lambda leaf: leaf if _is_plain_result(leaf) else None, results) if others else results

    model.forward = alone
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before


def _is_plain_result(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, (Tensor, bool, int, float, str))



def named(graph: Graph, output: str) -> Graph:
    """The same graph with names for its results: `output` where there is one; a key of a dict as it is; and places of
    tuples behind `output`."""
    graph.names = [result_name(name or "", output) for name in graph.names]
    return graph


def result_name(path: str, output: str) -> str:
    """The name of the result of a path."""
    return output if not path else f"{output}_{path}" if path[0].isdigit() else path


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards each of its modules is again in the mode that it was in."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def require_model(model: object) -> None:
    """Raise HeddleError unless it is a module of PyTorch."""
    require_type("the model", model, nn.Module, "a torch.nn.Module")


def built_part(model: nn.Module) -> str:
    """What of a larger model this is, such as "3 of 61 layers", where whoever built it says so; else empty."""
    found = getattr(model, "built_part", "")
    return found if isinstance(found, str) else ""


def _arguments(example_inputs: Inputs) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """(by place, by name). torch.export takes one tensor given twice for one input: each gets a storage of its own."""
    if isinstance(example_inputs, Mapping):
        return (), {name: each.detach().clone() for name, each in example_inputs.items()}
    return tuple(each.detach().clone() for each in example_inputs), {}


def export(model: nn.Module, example_inputs: Inputs) -> ExportedProgram:
    """torch.export's own. Raises HeddleError for what it cannot trace."""
    args, kwargs = _arguments(example_inputs)
    try:
        with (warnings.catch_warnings(), _quietly(), torch.no_grad(), evaluating(model),
              _stand_ins(model), _experts_of_fixed_shapes(model)):  # fmt: skip
            warnings.simplefilter("ignore", FutureWarning)  # torch's own pytree
            exported = torch.export.export(model, args, kwargs, strict=False)
            # Only where needed: this traces the model again, which takes as long as the export.
            table = _decompositions(exported.graph)
            return exported if not table and _is_plain(exported.graph) else exported.run_decompositions(table)
    except Exception as error:  # torch.export has no common base class for what it raises
        first_line = str(error).strip().split("\n")[0]
        raise CaptureError(f"torch.export cannot capture {type(model).__name__}: {first_line}") from error


_LIKE = 1e-3  # that the two may differ, as a part of the greatest number


def _require_as_called(model: nn.Module, exported: ExportedProgram, example_inputs: Inputs) -> None:
    """Raise HeddleError if what was captured computes something else than a call of the model.

    Models of the transformers library take other ways when they are exported, and for a few these are not the same.
    Other models are not called here."""
    if not hasattr(model, "get_experts_implementation") or any(each.is_meta for each in model.state_dict().values()):
        return
    args, kwargs = _arguments(example_inputs)
    with torch.no_grad(), evaluating(model), _experts_of_fixed_shapes(model):
        try:
            theirs = tensors_of(model(*args, **kwargs))
            ours = tensors_of(exported.module()(*args, **kwargs))
        except Exception:  # only the shapes of example inputs count: these may be numbers that the model cannot take
            return
    for name, value in theirs.items():
        expected, found = value.double(), ours[name].double()
        if not torch.allclose(expected, found, rtol=_LIKE, atol=_LIKE * float(expected.abs().max()), equal_nan=True):
            apart = float((expected - found).abs().max())
            raise CaptureError(f"torch.export captures {type(model).__name__} otherwise than a call computes it: its "
                              f"result {name or 'output'} differs by {apart:.2g}")  # fmt: skip


@contextmanager
def _quietly() -> Iterator[None]:
    """While this holds, torch does not print graphs and tracebacks when it cannot go on: what it raises says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _experts_of_fixed_shapes(model: nn.Module) -> Iterator[None]:
    """While this holds, models of the transformers library gather the weights of a token's experts, one of the ways in
    which it can compute them. In the others, shapes depend on which experts tokens choose."""
    switched = [module for module in model.modules() if hasattr(module, "set_experts_implementation")]
    before = [module.get_experts_implementation() for module in switched]  # type: ignore[operator]
    try:
        for module in switched:
            module.set_experts_implementation("batched_mm")  # type: ignore[operator]
        yield
    finally:
        for module, ways in zip(switched, before, strict=True):
            module.set_experts_implementation(ways)  # type: ignore[operator]


@contextmanager
def _stand_ins(model: nn.Module) -> Iterator[None]:
    """In place of the parameters and buffers on "meta", tensors on the CPU that torch.export takes for real."""
    found: dict[Tensor, Tensor] = {}
    places = []
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None or not tensor.is_meta:
                    continue
                if tensor not in found:  # a tied parameter has several names
                    with mode:
                        stand_in = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    found[tensor] = nn.Parameter(stand_in) if isinstance(tensor, nn.Parameter) else stand_in
                places.append((tensors, name, tensor))
    try:
        for tensors, name, tensor in places:
            tensors[name] = found[tensor]
        yield
    finally:
        for tensors, name, tensor in places:
            tensors[name] = tensor


def _decompositions(graph: fx.Graph) -> dict[Any, Any]:
    """torch's own, of the calls that no rule knows."""
    computed = {each for each in graph.nodes if each.op == "placeholder"}  # what hangs on no tensor is folded later
    for each in graph.nodes:
        if computed.intersection(each.all_input_nodes):
            computed.add(each)
    found = {each.target for each in computed if isinstance(each.target, OpOverload)}
    unknown = [each for each in found if (name := _name(each)) not in RULES and name not in VIEWS
               and not any(check in name for check in _CHECKS)]  # fmt: skip
    if not unknown:
        return {}
    known = torch.export.default_decompositions()
    return {each: known[each] for each in unknown if each in known}


def _name(target: OpOverload) -> str:
    return target._schema.name.partition("::")[2]


def _is_plain(graph: fx.Graph) -> bool:
    """Whether no call writes to one of its arguments, and what may be a view is one that the compiler follows. (torch
    knows more ways to write a view, such as `ravel` or `to`, and reduces them to these.)"""
    for target in {each.target for each in graph.nodes}:
        if not isinstance(target, OpOverload):
            continue
        name, returns = target._schema.name.removeprefix("aten::"), target._schema.returns
        if target._schema.is_mutable or (name not in VIEWS and any(each.alias_info for each in returns)):
            return False
    return True


def placeholder(each: fx.Node, spec: Any, exported: ExportedProgram) -> Node:
    """The node of an input, parameter or buffer."""
    if spec.kind is InputKind.USER_INPUT:
        value = each.meta["val"]
        truth = value.dtype == torch.bool
        integer = not value.dtype.is_floating_point and not truth
        return Node(each.name, "input", [], tuple(value.shape), integer=integer, truth=truth, host=integer or truth)
    value = exported.state_dict.get(spec.target, exported.constants.get(spec.target))
    if not isinstance(value, Tensor):
        raise HeddleError(f"{spec.target} of the model must be a tensor, not {type(value).__name__}")
    if isinstance(value, FakeTensor):
        value = torch.empty(value.shape, dtype=value.dtype, device="meta")
    return constant(each.name, value.detach(), [spec.target])


def _call(each: fx.Node, nodes: dict[fx.Node, Node], problems: dict[Node, HeddleError]) -> Node:
    """The node of a call. One that computes in numbers that wrap around, or has a shape that depends on data, is
    `refused`."""
    args, kwargs = _translated(each.args, nodes), _translated(each.kwargs, nodes)
    value = each.meta.get("val")
    shape = tuple(value.shape) if isinstance(value, Tensor) else ()
    name = str(each.target) if not callable(each.target) else getattr(each.target, "__name__", str(each.target))
    op = str(each.target).removesuffix(".default") if "aten" in str(each.target) else name
    attributes = {"target": each.target, "args": args, "kwargs": kwargs}
    if isinstance(value, (list, tuple)):
        attributes["results"] = len(value)
    modules = list((each.meta.get("nn_module_stack") or {"": ("", "")}).values())
    source = _source(each.stack_trace)
    truth = isinstance(value, Tensor) and value.dtype == torch.bool
    inputs = call_inputs([args, kwargs])
    node = Node(each.name, op, inputs, shape, source, modules[-1][0], attributes, _is_whole(value), truth)
    computes = bool(inputs) and op.startswith("aten.") and op.split(".")[1] not in VIEWS
    if computes and isinstance(value, Tensor) and value.dtype in (torch.uint8, torch.int8, torch.int16):
        refuse_in(problems, node, f"it computes in {value.dtype}, in which numbers wrap around; use int64")
    if not all(type(size) is int for size in shape) or isinstance(value, _SYMBOLS):
        node.shape = tuple(size if type(size) is int else str(size) for size in shape)  # type: ignore[assignment]
        refuse_in(problems, node, "its shape depends on data; only fixed shapes can be lowered")
        node.shape = tuple(size if type(size) is int else 1 for size in shape)
    return node


_SYMBOLS = (torch.SymInt, torch.SymFloat, torch.SymBool)  # sizes that are not known yet, and what depends on them


def _is_whole(value: Any) -> bool:
    """Whether a tensor has whole numbers."""
    if not isinstance(value, Tensor) or value.dtype == torch.bool:
        return False
    return not (value.is_floating_point() or value.is_complex())


def _translated(structure: Any, nodes: dict[fx.Node, Node]) -> Any:
    """Arguments with our nodes for fx's, and ordinary lists and dicts for its immutable ones."""
    if isinstance(structure, fx.Node):
        return nodes[structure]
    if isinstance(structure, dict):
        return {key: _translated(value, nodes) for key, value in structure.items()}
    if isinstance(structure, (list, tuple)):
        return [_translated(each, nodes) for each in structure]
    return structure


def _source(stack_trace: str | None) -> str:
    """The innermost line of the user's model: the last frame outside the torch package."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in \S+\n\s*(.*)', stack_trace or "")
    torch_root = str(Path(torch.__file__).parent)
    frames = [frame for frame in frames if not frame[0].startswith(torch_root)]
    if not frames:
        return ""
    path, line, code = frames[-1]
    return f"{Path(path).name}:{line}: {code.split('  #')[0].strip()}"


def tensors_of(results: Any) -> dict[str, Tensor]:
    """The tensors of what a model returns, by their paths."""
    return {path: leaf for path, leaf in leaves(results) if isinstance(leaf, Tensor)}
