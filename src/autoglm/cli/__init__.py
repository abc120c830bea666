"""The command. Talks to ``app`` only."""
