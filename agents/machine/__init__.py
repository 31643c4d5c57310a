"""The agent on each machine: attach a session, probe, notify, detach."""
