"""A day of launches through the same allocation and sizing as the service's, with a simulated clock."""
