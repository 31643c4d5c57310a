"""The portal's server: gunicorn's threads, none of which waits for who is slow to say what it wants."""
