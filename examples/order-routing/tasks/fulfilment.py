"""Paying and sending: what changes the world, each with a key so that doing it twice is doing it once."""

from chance import chance

import autoglm


def reserve(order: dict, amount: float, ledger, ctx) -> dict:
    """Hold the amount on the customer's card."""
    ledger.reserve(ctx.idempotency_key, order["id"], amount)
    return {"reservation": ctx.idempotency_key, "amount": amount}


def release(order: dict, reservation: str, ledger) -> dict:
    """Undo a reservation."""
    ledger.settle(reservation, order["id"], "released")
    return {"released": reservation}


def capture(order: dict, reservation: str, ledger) -> dict:
    """Take what was reserved."""
    ledger.settle(reservation, order["id"], "captured")
    return {"captured": reservation}


def pack(order: dict) -> dict:
    """Pack the goods. One order in thirty falls from the table: that cannot be mended by trying again."""
    if chance(order["id"], "dropped") < 1 / 30:
        raise autoglm.TaskError("the goods were dropped", code="goods-damaged", retryable=False)
    return {"parcels": len(order["lines"])}


def schedule(order: dict, missing: list) -> dict:
    """Find a day for what is not sent at once. For some goods there is none."""
    if missing and chance(order["id"], "supplier") < 0.08:
        raise autoglm.TaskError(f"nobody delivers {', '.join(missing)} any more", code="no-supplier", retryable=False)
    return {"carrier": "van", "tracking": None, "days": 1 + 7 * len(missing)}


def ship(order: dict, way: str, carrier: str, tracking: str | None, ledger, ctx) -> dict:
    """Note that an order goes out."""
    ledger.ship(ctx.idempotency_key, order["id"], way, carrier, tracking)
    ctx.logger.info("%s goes out by %s", order["id"], carrier)
    return {"way": way, "carrier": carrier}
