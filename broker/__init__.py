"""The core of Beamdesk: sessions, pools, clouds; it knows no HTML and no HTTP request."""
