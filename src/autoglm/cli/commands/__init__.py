"""The commands, a module for each family. Modules import what they need when they are called, not before."""
