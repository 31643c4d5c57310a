"""The user's side of the `beamdesk` command: signs in, launches and opens desktops by the API, from any computer."""
