"""The pure heart: stimuli in, events and commands out. No clock, no chance, no I/O; time and ids are arguments."""
