"""How a user reaches a session: tickets and connection files."""
