"""The books: what was reserved, shipped and scheduled. SQLite, each entry under the key of the work that made it.

Work is done at least once. What makes it count once are these keys: an entry whose key is there already is the same.
"""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import autoglm

ROOT = Path(__file__).resolve().parent.parent
_TABLES = """
create table if not exists reservations (
  key text primary key, order_id text not null, amount real not null,
  state text not null check (state in ('held', 'captured', 'released')));
create table if not exists shipments (
  key text primary key, order_id text not null, way text not null, carrier text not null, tracking text);
create table if not exists calls (what text not null, order_id text not null);
"""


class Ledger:
    """One file, one writer at a time."""

    def __init__(self, path):
        path.parent.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.executescript(_TABLES)

    def reserve(self, key, order, amount):
        """Hold an amount. Again under the same key, it is the same reservation."""
        with self._transaction("reserve", order):
            self._db.execute(
                "insert into reservations values (?, ?, ?, 'held') "
                "on conflict (key) do update set state = 'held' where state = 'released'",
                (key, order, amount),
            )

    def settle(self, key, order, state):
        """Capture or release what is held; what is neither held nor there stays as it is."""
        with self._transaction(state, order):
            self._db.execute("update reservations set state = ? where key = ? and state = 'held'", (state, key))

    def ship(self, key, order, way, carrier, tracking):
        """Note that an order goes out, and how."""
        with self._transaction("ship", order):
            self._db.execute(
                "insert or ignore into shipments values (?, ?, ?, ?, ?)", (key, order, way, carrier, tracking)
            )

    def close(self):
        self._db.close()

    def _transaction(self, what, order):
        return _Transaction(self._db, self._lock, what, order)


class _Transaction:
    """A transaction that also notes that it was made, so that work which was done twice can be counted."""

    def __init__(self, db, lock, what, order):
        self._db, self._lock, self._call = db, lock, (what, order)

    def __enter__(self):
        self._lock.acquire()
        self._db.execute("begin immediate")
        self._db.execute("insert into calls values (?, ?)", self._call)

    def __exit__(self, kind, error, trace):
        self._db.execute("rollback" if kind else "commit")
        self._lock.release()


@autoglm.service
def ledger():
    """Opened once a run."""
    with closing(Ledger(ROOT / "out" / "ledgers.db")) as books:
        yield books
