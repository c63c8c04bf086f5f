"""Whether accesses overlap, for compiled loops over tables of them."""

from __future__ import annotations

from ..sim.jit import inlined


@inlined
def overlaps(t, a, u, b):
    """`Access.overlaps` of access a of table t and access b of table u."""
    if t.memory[a] != u.memory[b] or t.start[a] >= u.stop[b] or u.start[b] >= t.stop[a]:
        return False
    if t.count[a] == 1 or u.count[b] == 1 or t.stride[a] != u.stride[b]:
        return True
    behind = (u.start[b] - t.start[a]) % t.stride[a] if t.stride[a] else 0
    return behind < t.length[a] or t.stride[a] - behind < u.length[b]
