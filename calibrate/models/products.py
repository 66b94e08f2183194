"""A pass's matrix products over a few rows, as fast as the library has them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_onednn: Any = getattr(
    torch.ops.mkldnn, "_linear_pointwise", None
)  # None in a torch built without it


class Product:
    """x -> x Wᵀ + b for a few rows of x; `weight` is (outputs, inputs).

    Above `SMALL` weights, or for more than one row, oneDNN's packed weights are faster than the
    library's default (measured on 2 cores at widths 1 to 256: 0.3 to 0.9 of its time); below, the
    call itself costs more.
    """

    SMALL = 300_000
    PADDED = 16  # more rows than it and one are padded to a multiple of it
    TYPICAL_ROWS = 5  # what the packing is optimised for; it serves any number

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, pack: bool = False) -> None:
        self.weight, self.bias = weight, bias
        self._packed = (
            torch.ops.mkldnn._reorder_linear_weight(weight, self.TYPICAL_ROWS) if pack else None
        )

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """The product, and `added` to it where given; `added` may be overwritten."""
        if added is not None and self._packed is None and self.bias is None:
            return added.addmm_(x, self.weight.t())
        if self._packed is None or (x.shape[0] == 1 and self.weight.numel() < self.SMALL):
            product = functional.linear(x, self.weight, self.bias)
            return product if added is None else product + added
        rows = x.shape[0]
        if rows > self.PADDED + 1 and rows % self.PADDED:
            # oneDNN compiles a kernel for every number of rows: prompts of any length shall share a
            # few
            padded = functional.pad(x, (0, 0, 0, -rows % self.PADDED))
            product = _onednn(padded, self._packed, self.bias, "none", [], "")[:rows]
            return product if added is None else product + added
        if added is None:
            return _onednn(x, self._packed, self.bias, "none", [], "")
        return _onednn.binary(x, added, self._packed, self.bias, "add")


PACKED_BYTES = 2 * 1024**3  # models above it are not stored a second time


def packs(model: Any) -> bool:
    """Whether the model's products run from packed weights."""
    parameters = list(model.parameters())
    return (
        all(p.device.type == "cpu" and p.dtype == torch.float32 for p in parameters)
        and sum(p.numel() * p.element_size() for p in parameters) <= PACKED_BYTES
        and torch.backends.mkldnn.is_available()
        and _onednn is not None
    )
