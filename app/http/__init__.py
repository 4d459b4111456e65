"""HTTP code of web and sockets: errors, origins, health, addresses, headers, gunicorn, draining, capacity."""
