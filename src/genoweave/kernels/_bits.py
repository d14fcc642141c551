"""Bit operations that numba has no name for."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic


@intrinsic
def popcount(context: Any, x: Any) -> Any:
    """Return the set bits of a uint64 as int64: LLVM's ctpop, vpopcntq where the processor has it."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build
