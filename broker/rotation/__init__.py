"""Replacing the broker's keys while sessions are open: what may be done when, and the command that begins it."""
