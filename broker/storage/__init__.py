"""Homes and how they reach a machine."""
