"""Header lines as raw ASGI has them."""

from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]  #: names in lower case
