"""What web and sockets share of HTTP: addresses, headers, workers, draining, capacity."""
