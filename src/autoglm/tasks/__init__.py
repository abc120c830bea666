"""*What* runs: the built-in task types. Each is registered by entry point, like everybody else's."""
