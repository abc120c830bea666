"""Where journals live. A store is what passes ``autoglm.testing.StoreTests``."""
