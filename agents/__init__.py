"""Programs that run away from the broker; they import nothing from broker or web."""
