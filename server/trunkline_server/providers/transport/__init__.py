"""HTTP clients behind one small protocol: the only place that imports them."""
