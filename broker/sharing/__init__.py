"""Desktops that others than their owner may open: shares, links to them, and support that asks to join."""
