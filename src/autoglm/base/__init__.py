"""The ground floor: errors, diagnostics, ids, durations, JSON values. Imports nothing of ours."""
