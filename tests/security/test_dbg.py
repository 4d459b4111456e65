from tests.security.test_hostile_requests import *
def test_x(house, shop):
    body = b'{"metadata": "' + b"x" * (API_BODY_BYTES_MAX+1) + b'"}'
    head = [*shop.headers("big").items(), JSON]
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    chunked = build_request("/api/payments/deposit", [*head, ("Transfer-Encoding", "chunked")], chunk)
    print(send(house.web, chunked))
    assert 0
