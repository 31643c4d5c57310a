"""Tests of Beamdesk."""
