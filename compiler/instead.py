"""What to write in place of a call that has no rule: the nearest form that compiles."""

from __future__ import annotations

from .rules import RULES

# Of x, y (…, N), whole numbers `ids` (T) below n, and truth `mask` like x. Each computes what the call does, where the
# words behind it say for which numbers alone.
EXPRESSIONS = {
    "sign": "(x > 0).float() - (x < 0).float()",
    "tan": "x.sin() / x.cos()",
    "cosh": "(x.exp() + (-x).exp()) / 2",
    "sinh": "(x.exp() - (-x).exp()) / 2",
    "acosh": "(x + (x * x - 1).sqrt()).log()",
    "atanh": "((1 + x) / (1 - x)).log() / 2",
    "log10": "x.log() / 2.302585",
    "hypot": "(x * x + y * y).sqrt()",
    "prod": "x.log().sum(-1).exp(), for numbers above 0",
    "cumprod": "x.log().cumsum(-1).exp(), for numbers above 0",
    "logcumsumexp": "x.exp().cumsum(-1).log()",
    "kthvalue": "x.topk(k, -1, largest=False)[0][..., -1], for k up to 64",
    "bincount": "torch.nn.functional.one_hot(ids, n).sum(0)",
    "masked_select": "torch.where(mask, x, 0.0), whose shape is fixed",
    "scatter_add": "torch.nn.functional.one_hot(ids, n).float().mT @ x, for whole rows",
    "_embedding_bag": "torch.nn.functional.embedding(ids, table).sum(-2)",
    "_cdist_forward": "((x[..., :, None, :] - y[..., None, :, :]) ** 2).sum(-1).sqrt()",
}
_FIXED_SHAPES = "a mask, and torch.where(mask, x, 0.0), whose shape is fixed"
_BEFORE = "an input of the model, computed before"
_WORDS = {
    "nonzero": _FIXED_SHAPES, "_unique2": _FIXED_SHAPES, "unique_dim": _FIXED_SHAPES,
    "unique_consecutive": _FIXED_SHAPES, "histc": EXPRESSIONS["bincount"],
    "scatter_reduce": EXPRESSIONS["scatter_add"], "median": EXPRESSIONS["kthvalue"],
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
