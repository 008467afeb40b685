# SPDX-License-Identifier: Apache-2.0
"""END, what stands behind the last row."""

from __future__ import annotations

from typing import ClassVar, Final, final


@final
class End:
    """The type of END."""

    __slots__ = ()
    _only: ClassVar[End | None] = None

    def __new__(cls) -> End:
        """The one object that there is."""
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "tablemgr.END"

    def __reduce__(self) -> str:
        return "END"


END: Final = End()
"""What a traversal returns behind the last row. One object, also after pickling; false."""
