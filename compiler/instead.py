"""What to write in place of a call that has no rule: the nearest form that compiles."""

from __future__ import annotations

from .rules import RULES

# Of x (…, N), whole numbers `ids` (T) below n, and truth `mask` like x: each computes what the call does.
EXPRESSIONS = {
    "log10": "x.log() / 2.302585",
    "bincount": "torch.nn.functional.one_hot(ids, n).sum(0)",
    "masked_select": "torch.where(mask, x, 0.0), whose shape is fixed",
}
_FIXED_SHAPES = "a mask, and torch.where(mask, x, 0.0), whose shape is fixed"
_BEFORE = "an input of the model, computed before"
_WORDS = {
    "nonzero": _FIXED_SHAPES, "_unique2": _FIXED_SHAPES, "unique_dim": _FIXED_SHAPES,
    "unique_consecutive": _FIXED_SHAPES, "histc": EXPRESSIONS["bincount"],
    "_local_scalar_dense": "torch.where(condition, x, y), with both computed",
    "mkldnn_rnn_layer": "the recurrence written out, step by step, with linear layers",
    **dict.fromkeys(("rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson",
                     "exponential"), "an input of the model with the random numbers"),
    **dict.fromkeys(("linalg_inv_ex", "linalg_qr", "linalg_cholesky_ex", "_linalg_svd", "_linalg_eigh"), _BEFORE),
}  # fmt: skip


def instead_of(operator: str) -> str:
    """The nearest form of a call such as "aten.tan" that compiles; of one with a rule, what that takes. Empty where
    none is known."""
    name = operator.removeprefix("aten.").split(".")[0]
    if rule := RULES.get(name):
        return " ".join((rule.__doc__ or "").split())
    return EXPRESSIONS.get(name) or _WORDS.get(name, "")
