"""The audit log's chain: sealing, verifying, searching and exporting. What is written down is broker.events'."""
