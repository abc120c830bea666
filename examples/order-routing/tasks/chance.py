"""What goes wrong in this example goes wrong on purpose, and for the same orders every time."""

import hashlib


def chance(order_id: str, what: str) -> float:
    """Return a number from 0 up to 1 that hangs on nothing but its arguments."""
    return int.from_bytes(hashlib.sha256(f"{what}:{order_id}".encode()).digest()[:4]) / 2**32
