"""The composition root: plugins, settings and files become objects that work together."""
