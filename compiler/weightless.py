"""Arrays with a shape and no bytes: the weights of a model of which only the timing is asked for.

In the graph they are torch's tensors on the device "meta". Codes, scales and rows for DRAM are `ShapeOnly`: numpy
arrays of one element, seen as many. They are sliced, reshaped and transposed like others, and refuse arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor


class ShapeOnly(np.ndarray):
    """An array of which only shape and type are known."""

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """numpy's arithmetic would read the one element again and again, and fill memory with it."""
        raise TypeError(f"{function.__name__} of an array without bytes")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """numpy's other functions."""
        raise TypeError(f"{function.__name__} of an array without bytes")


def shape_only(shape: Sequence[int], dtype: DTypeLike = np.float32) -> ShapeOnly:
    """An array of this shape that takes no memory."""
    return ShapeOnly(tuple(shape), dtype, np.zeros((), dtype), strides=(0,) * len(shape))


def has_bytes(*arrays: Any) -> bool:
    """Whether all of these tensors and arrays (None is neither) have content."""
    return not any(each.is_meta if isinstance(each, Tensor) else isinstance(each, ShapeOnly) for each in arrays)


def on_one_device(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, all on "meta" if one of them is: what is computed from them has no bytes either."""
    return list(tensors) if has_bytes(*tensors) else [each.to("meta") for each in tensors]


def same_values(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal; without bytes, whether they are the same part of one tensor."""
    if first.shape != second.shape:
        return False
    one_storage = first.untyped_storage()._cdata == second.untyped_storage()._cdata
    if one_storage and (first.stride(), first.storage_offset()) == (second.stride(), second.storage_offset()):
        return True
    return has_bytes(first, second) and torch.equal(first, second)


def to_numpy(tensor: Tensor) -> NDArray:
    """tensor.numpy(), of tensors without bytes too."""
    if has_bytes(tensor):
        return tensor.numpy()
    return shape_only(tensor.shape, torch.empty((), dtype=tensor.dtype).numpy().dtype)


def padded(array: NDArray, widths: Sequence[tuple[int, int]]) -> NDArray:
    """numpy.pad with zeros."""
    if has_bytes(array):
        return np.pad(array, widths)
    return shape_only([before + size + after for size, (before, after) in zip(array.shape, widths, strict=True)],
                      array.dtype)  # fmt: skip


def concatenated(arrays: Sequence[NDArray], axis: int = 0) -> NDArray:
    """numpy.concatenate; without bytes, if one of the arrays is."""
    if has_bytes(*arrays):
        return np.concatenate(arrays, axis)
    shape = list(arrays[0].shape)
    shape[axis] = sum(each.shape[axis] for each in arrays)
    return shape_only(shape, arrays[0].dtype)
