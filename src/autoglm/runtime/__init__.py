"""The shell around the engine: clock, journal, dispatch, the one loop, recovery."""
