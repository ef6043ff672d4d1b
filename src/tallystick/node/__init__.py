"""One running house or client: the only place that chooses windows."""
