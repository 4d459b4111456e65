"""What web and sockets share of HTTP: errors, origins, health, addresses, headers, gunicorn, draining, capacity."""
