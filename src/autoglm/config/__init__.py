"""The project's settings, its environment and its secrets."""
