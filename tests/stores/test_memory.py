"""The store in memory keeps the rules of the port."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm.base.errors import StoreError
from autoglm.stores.memory import MemoryStore
from autoglm.stores.protocol import Store
from autoglm.testing import StoreTests


class TestMemory(StoreTests):
    def make_store(self, folder: Path) -> Store:
        return MemoryStore()

    def test_backup_is_not_supported(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StoreError) as caught:
            store.backup(str(tmp_path / "copy"))
        assert caught.value.code == "not-supported"
