"""Pools of machines kept ready: models, allocation, sizing, manager, probe."""
