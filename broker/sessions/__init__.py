"""User sessions: request, launch, lease, end."""
