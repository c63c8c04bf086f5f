"""From a decoder's forward pass over a whole sequence to that over a few of its tokens.

All operators but attention treat each token by itself, so the graph of a sequence is the graph of any of its tokens,
once attention reads the others from the KV cache. What differs from token to token by its position alone (learned
positions, rotary tables) becomes a table, of which the rows are gathered by the input `positions`.
"""

from __future__ import annotations

from .graph import Graph, Node

POSITIONS = "positions"


def take_tokens(graph: Graph, rows: int) -> Graph:
    """The graph for `rows` tokens at a time, whose places in their sequences are the integer input `positions`.

    Raises HeddleError if an operator mixes the tokens of a sequence.
    """
    ids = next(node for node in graph if node.op == "input")
    if len([node for node in graph if node.op == "input"]) > 1 or not ids.integer:
        raise ids.refuse("a decoder must take one input, the ids of its tokens")
    tokens = ids.size
    positions = Node(POSITIONS, "input", [], (1, rows), integer=True)
    nodes = [positions]
    for node in graph:
        if node.op == "constant" and node.rows == tokens > 1:
            table = node.value.reshape(tokens, node.columns)
            node.op, node.inputs, node.attributes = "position_rows", [positions], {"table": table}
        if node.op != "constant":
            if node.rows != tokens and node is not ids:
                raise node.refuse(f"it has {node.rows} rows for {tokens} tokens; a decoder keeps a row for each token")
            node.shape = (1, rows) if node is ids else (1, rows, node.columns)
        nodes.append(node)
    return Graph(nodes, graph.outputs, graph.names)
