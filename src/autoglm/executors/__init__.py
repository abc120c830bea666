"""*Where* work runs. An executor is what passes ``autoglm.testing.ExecutorTests``."""
