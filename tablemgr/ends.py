# SPDX-License-Identifier: Apache-2.0
"""END, what stands behind the last row."""

from typing import Final, final


@final
class End:
    """The type of END."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "tablemgr.END"

    def __reduce__(self) -> str:
        return "END"


END: Final = End()
"""What a traversal returns behind the last row. One object, also after pickling; false."""
