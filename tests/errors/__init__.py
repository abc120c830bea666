"""Every message that a user may get, as it is seen: each is raised for real, and stands in ``tests/golden/errors``."""
