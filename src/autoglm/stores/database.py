"""The SQLite file itself: opened, checked and shared out; what goes wrong in it becomes a StoreError here.

One connection writes, behind a lock, in transactions that begin IMMEDIATE (a deferred one that turns from reading to
writing fails at once when another process wrote meanwhile, whatever the timeout). Any number of others read. Several
processes may do the same with one file.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

import apsw

from autoglm.base.errors import StoreError
from autoglm.stores import rules

APPLICATION_ID = 0x41474C4D
"""``AGLM``: tells our file from other programs' SQLite files."""
SCHEMA_VERSION = 4
IDLE_READERS = 4
PAGE = 2048
"""Bytes of a page. A step of a chain touches five; small ones make its commit about a tenth cheaper."""
SMALLEST_WAL = {"full": 896 * 1024, "normal": 4096 * 1024}
LARGEST_WAL = 16384 * 1024
"""Bytes after which the log is written back: a quarter of the file, within these. Where commits wait for no disk, the
two syncs of a write-back are felt, and are made rarer."""
LOG_PART = SMALLEST_WAL["full"]
"""Bytes by which the log is made longer at once where each commit is synced."""


@cache
def queries() -> dict[str, str]:
    """Return the statements of ``sqlite.sql`` by name."""
    found = {}
    text = files("autoglm.stores").joinpath("sqlite.sql").read_text(encoding="utf-8")
    for part in text.split("\n-- name: ")[1:]:
        name, _, statement = part.partition("\n")
        found[name] = statement
    return found


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn whatever apsw raises into a StoreError that says what to do."""
    try:
        yield
    except (apsw.Error, UnicodeEncodeError, OverflowError) as error:
        raise translate(error, path) from error


def translate(error: Exception, path: Path) -> StoreError:
    """Return the StoreError for what apsw raised."""
    match error:
        case UnicodeEncodeError() | OverflowError() | apsw.MismatchError() | apsw.ConstraintError():
            return StoreError(
                f"the store cannot keep or look up a value: {error}",
                code="store-bad-value",
                hint="texts must be Unicode without lone surrogates, numbers fit in 64 bits",
            )
        case apsw.BusyError() | apsw.LockedError():
            return StoreError(
                f"another process kept the store {path} locked for too long",
                code="store-busy",
                hint="try again; if it stays so, look which process holds the file (`fuser` names it)",
            )
        case apsw.NotADBError() | apsw.CorruptError() | apsw.FormatError():
            return StoreError(
                f"the store {path} is no database or is damaged",
                code="store-damaged",
                hint="restore a backup, or move the file away (with its -wal) to begin a new store",
            )
        case apsw.FullError():
            return _disk_full(path)
        case apsw.IOError() if _is_full(path):
            return _disk_full(path)
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.AuthError():
            return _read_only(path)
        case apsw.CantOpenError() if not os.access(path.parent, os.W_OK):
            return _read_only(path)
        case apsw.ConnectionClosedError():
            return rules.closed()
        case _:
            return StoreError(
                f"the store {path} failed: {error}",
                code="store-failed",
                hint="look at the disk and its messages; what was acknowledged is in the file",
            )


def _disk_full(path: Path) -> StoreError:
    return StoreError(
        f"the disk that holds the store {path} is full",
        code="disk-full",
        hint="make room (`autoglm prune` deletes old runs) and resume: everything acknowledged is kept",
    )


def _read_only(path: Path) -> StoreError:
    return StoreError(
        f"the store {path} cannot be written",
        code="store-read-only",
        hint=f"make {path.parent} writable, or keep the store elsewhere",
    )


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 64 * 1024
    except OSError:
        return False


def make_place(path: Path) -> None:
    """Make the folder that ``path`` is to lie in. Raises StoreError ``store-path`` or ``store-read-only``."""
    try:
        if "\0" in str(path):
            raise ValueError("its name holds a NUL")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            above = os.open(path.parent.parent, os.O_RDONLY)
            try:
                os.fsync(above)  # a power cut must not lose the folder with the store in it
            finally:
                os.close(above)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in {errno.EPERM, errno.EACCES, errno.EROFS}:
            raise _read_only(path) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise _disk_full(path) from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise StoreError(
            f"{str(path)!r} cannot be a store: {reason}",
            code="store-path",
            hint="give the path of a file, in a folder that can be made",
        ) from error


@cache
def _empty_store() -> bytes:
    """Return the file of a store that holds nothing yet."""
    with closing(apsw.Connection(":memory:")) as db:
        db.pragma("page_size", PAGE)
        db.pragma("auto_vacuum", "incremental")
        db.execute(queries()["schema"])
        db.pragma("application_id", APPLICATION_ID)
        db.pragma("user_version", SCHEMA_VERSION)
        image = bytearray(db.serialize("main"))
    image[18:20] = b"\2\2"  # it has a write-ahead log: https://sqlite.org/fileformat.html, 1.3.3
    return bytes(image)


def _make(path: Path) -> None:
    """Make the file of a new store in one step: SQLite needs four transactions for it. Whatever fails is left to it."""
    part = path.with_name(f"{path.name}-new-{os.getpid()}-{threading.get_ident()}")
    image = _empty_store()
    with suppress(OSError):
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            try:
                written = os.write(file, image)
                os.fsync(file)
            finally:
                os.close(file)
            if written == len(image):
                path.hardlink_to(part)  # fails where another process was first
        finally:
            part.unlink()


class Database:
    """One store file: a writing connection and a few that read."""

    def __init__(self, path: Path, *, synchronous: str, busy_timeout: float) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._timeout = int(busy_timeout * 1000)
        self._closed = False
        self._idle: list[apsw.Connection] = []
        self._smallest_wal = SMALLEST_WAL[synchronous]
        self._wal_size = 0
        self._lays_out = synchronous == "full"
        self._laid_out = 0
        self._log = path.with_name(path.name + "-wal")
        with translated(path):
            if not path.exists() and not self._has_left_over_logs():
                _make(path)
            self._writer = self._connect()
            try:
                self._prepare(synchronous)
            except BaseException:
                self._writer.close()
                raise

    def _connect(self) -> apsw.Connection:
        db = apsw.Connection(str(self.path))
        db.set_busy_timeout(self._timeout)
        return db

    # -------------------------------------------------------------------------------------------------- opening

    def _prepare(self, synchronous: str) -> None:
        db = self._writer
        if not self._is_made(db):
            db.pragma("page_size", PAGE)  # only an empty file takes these two
            db.pragma("auto_vacuum", "incremental")
        self._use_wal(db)
        db.pragma("synchronous", synchronous)
        if db.pragma("user_version") != SCHEMA_VERSION:
            self._upgrade(db)
        db.execute(queries()["append-procedure"])
        self.tune()

    def _has_left_over_logs(self) -> bool:
        """Tell whether an earlier file of this name has left its logs: beside an empty file SQLite drops them."""
        return any(self.path.with_name(self.path.name + end).exists() for end in ("-wal", "-journal"))

    def _upgrade(self, db: apsw.Connection) -> None:
        with self.writing():
            # Looked at again inside the transaction: two processes may have come to make it.
            if not self._is_made(db):
                db.execute(queries()["schema"])
                db.pragma("application_id", APPLICATION_ID)
            else:
                for version in range(db.pragma("user_version") + 1, SCHEMA_VERSION + 1):
                    db.execute(queries()[f"schema-{version}"])
            db.pragma("user_version", SCHEMA_VERSION)

    def _is_made(self, db: apsw.Connection) -> bool:
        """Tell whether the file holds a store, False when it is empty. Raises StoreError when it is anything else."""
        version = db.pragma("user_version")
        if db.execute("SELECT count(*) FROM sqlite_schema").get == 0 and version == 0:
            return False
        if db.pragma("application_id") != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is a database of another program",
                code="store-foreign",
                hint="give the store a file of its own",
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.path} was written by a newer autoglm (schema {version}; this one knows "
                f"{SCHEMA_VERSION})",
                code="store-too-new",
                hint="upgrade open-autoglm; nothing was changed",
            )
        return True

    def _use_wal(self, db: apsw.Connection) -> None:
        deadline = time.monotonic() + self._timeout / 1000
        while True:
            try:
                mode = db.pragma("journal_mode", "wal")
            except apsw.BusyError:
                # SQLite does not wait here, where two processes make the file at once.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
                continue
            if mode != "wal":
                raise _read_only(self.path)
            return

    # -------------------------------------------------------------------------------------------------- working

    @property
    def writer(self) -> apsw.Connection:
        """The writing connection; only for whoever holds the lock."""
        if self._closed:
            raise rules.closed()
        return self._writer

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """Hold the lock and a transaction: committed at the end, rolled back when anything is raised."""
        with self.lock, translated(self.path):
            db = self.writer
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # Some errors have rolled back already, and what is not committed may not stay open.
                if db.in_transaction:
                    with suppress(apsw.Error):
                        db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """Lend a connection that sees what is committed; each statement its own snapshot, so that none is long."""
        if self._closed:
            raise rules.closed()
        with translated(self.path):
            try:
                db = self._idle.pop()
            except IndexError:
                db = self._connect()
                db.pragma("query_only", True)
            try:
                yield db
            finally:
                self._take_back(db)

    def _take_back(self, db: apsw.Connection) -> None:
        if self._closed or len(self._idle) >= IDLE_READERS:
            db.close()
        else:
            self._idle.append(db)

    def tune(self) -> None:
        """Fit the size of the log to the file: a small store stays small, a large one is not written back too often."""
        size = min(LARGEST_WAL, max(self._smallest_wal, self.path.stat().st_size // 4))
        if size != self._wal_size:
            self._wal_size = size
            self.writer.wal_autocheckpoint(size // PAGE)
            self.writer.pragma("journal_size_limit", 2 * size)
        if self._lays_out:
            self._lay_out_log()

    def _lay_out_log(self) -> None:
        """Make the log longer by many commits at once, when SQLite has come to its end.

        To sync a file that has grown costs the file system an entry in its own journal: on a busy disk several times
        what it costs to sync one that is written over. SQLite takes zeros behind its last frame for what they are.
        """
        with suppress(OSError):  # it only saves time
            length = self._log.stat().st_size
            has_grown, self._laid_out = length > self._laid_out, length
            if not has_grown or length >= self._wal_size:
                return
            file = os.open(self._log, os.O_WRONLY | os.O_CLOEXEC)
            try:
                with self.writing():  # so that nobody else appends to it meanwhile, or cuts it
                    length = os.fstat(file).st_size
                    self._laid_out = min(self._wal_size, length + LOG_PART)
                    os.pwrite(file, bytes(max(0, self._laid_out - length)), length)
            finally:
                os.close(file)

    def shrink(self) -> None:
        """Give the pages that deleted rows left back to the file system, a bounded part at a time."""
        with translated(self.path):
            while True:
                with self.lock:
                    db = self.writer
                    before = db.pragma("freelist_count")
                    for _ in db.execute("PRAGMA incremental_vacuum(1000)"):
                        pass
                    if not 0 < db.pragma("freelist_count") < before:
                        break
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write the whole log back and empty it, unless somebody is reading from it just now."""
        with self.lock, translated(self.path):
            db = self.writer
            db.set_busy_timeout(0)
            try:
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except (apsw.BusyError, apsw.LockedError):
                pass
            finally:
                db.set_busy_timeout(self._timeout)

    def backup(self, target: Path) -> None:
        """Copy the file as of now, in one step so that nobody's writing makes it begin again."""
        with self.reading() as source, translated(target):
            copy = apsw.Connection(str(target))
            try:
                with copy.backup("main", source, "main") as progress:
                    while not progress.done:
                        progress.step(-1)
            finally:
                copy.close()

    def close(self) -> None:
        """Write the log back and close every connection. Idempotent."""
        with self.lock:
            if self._closed:
                return
            try:
                with suppress(StoreError):  # a full disk, say: the log stays beside the file and is read next time
                    self.checkpoint()
            finally:
                self._closed = True
                while self._idle:
                    self._idle.pop().close()
                self._writer.close()
