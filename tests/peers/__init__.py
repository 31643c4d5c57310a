"""Programs that others wrote and that Beamdesk speaks to, started for tests."""
