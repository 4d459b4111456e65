"""Values of requests and rows: amounts, timestamps, checked fields, signatures; and how a request is refused."""
