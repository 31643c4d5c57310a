"""OpenID providers: the certified one from npm, and a minimal one that misbehaves where it is told to."""
