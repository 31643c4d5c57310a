"""One thin adapter over Apache Libcloud, and a small file per provider."""
