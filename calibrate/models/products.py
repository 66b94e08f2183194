"""Matrix products of a pass over a few rows, with the fastest method for each size."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

# None if torch was built without oneDNN
_onednn: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


class Product:
    """The function x -> x Wᵀ + b for a few rows of x; `weight` is (outputs, inputs).

    For at least `SMALL` weights, or for more than one row, the packed weights of oneDNN are faster
    than torch's default: 0.3 to 0.9 of its time, measured on 2 cores at widths 1 to 256. Otherwise
    the overhead of the call is larger than the gain.
    """

    SMALL = 300_000
    PADDED = 16  # numbers of rows above PADDED + 1 are padded to a multiple of PADDED
    TYPICAL_ROWS = 5  # number of rows that the packing is optimised for; others work as well

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, pack: bool = False) -> None:
        self.weight, self.bias = weight, bias
        self._packed = (
            torch.ops.mkldnn._reorder_linear_weight(weight, self.TYPICAL_ROWS) if pack else None
        )

    def __call__(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the product plus `added`, if given; `added` may be overwritten."""
        if added is not None and self._packed is None and self.bias is None:
            return added.addmm_(x, self.weight.t())
        if self._packed is None or (x.shape[0] == 1 and self.weight.numel() < self.SMALL):
            product = functional.linear(x, self.weight, self.bias)
            return product if added is None else product + added
        rows = x.shape[0]
        if rows > self.PADDED + 1 and rows % self.PADDED:
            # oneDNN compiles a kernel for each number of rows; padding limits their number
            padded = functional.pad(x, (0, 0, 0, -rows % self.PADDED))
            product = _onednn(padded, self._packed, self.bias, "none", [], "")[:rows]
            return product if added is None else product + added
        if added is None:
            return _onednn(x, self._packed, self.bias, "none", [], "")
        return _onednn.binary(x, added, self._packed, self.bias, "add")


PACKED_BYTES = 2 * 1024**3  # larger models are not stored a second time


def packs(model: Any) -> bool:
    """Return whether the products of the model use packed weights."""
    parameters = list(model.parameters())
    return (
        all(p.device.type == "cpu" and p.dtype == torch.float32 for p in parameters)
        and sum(p.numel() * p.element_size() for p in parameters) <= PACKED_BYTES
        and torch.backends.mkldnn.is_available()
        and _onednn is not None
    )
