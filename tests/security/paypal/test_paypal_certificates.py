"""Who may sign PayPal's webhooks: its own hosts, names and authorities, within bounds that no sender can move."""

from __future__ import annotations

import datetime
import json
import time
import uuid

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from app.core.errors import NotSent, Unavailable, WebhookRejected
from app.core.signatures import Scheme
from app.providers import Received
from app.providers.adapters.paypal import PayPalAdapter
from app.providers.adapters.paypal import paypal_certificates as certificates
from app.providers.adapters.paypal.paypal_certificates import Certificates, check_chain, read_certificate_url
from app.providers.adapters.paypal.paypal_signing import AGE_SECONDS_MAX, CERTIFICATE_URL, HEADERS
from app.providers.calls.outgoing import ProviderAnswer
from sandbox.protocols.certificates import signer_of
from sandbox.protocols.protocol import Unsigned
from sandbox.protocols.providers.paypal import PayPalProtocol

NAME = "messageverificationcerts.sandbox.paypal.com"
PATH = "/v1/notifications/certs/CERT-1"
HOST = "127.0.0.1:8001"
PRIVATE = frozenset({HOST})
NOW = datetime.datetime.now(datetime.UTC)
SECRET = "1AB23456CD789012E"
BODY = json.dumps({"id": f"WH-{uuid.uuid4().hex}"}).encode()

STRANGE = {
    "another host": f"https://paypal.example{PATH}",
    "a host that begins alike": f"https://api.paypal.com.evil.example{PATH}",
    "a host that ends alike": f"https://evilapi.paypal.com{PATH}",
    "another host of PayPal": f"https://www.paypal.com{PATH}",
    "no TLS": f"http://api.paypal.com{PATH}",
    "credentials": f"https://api.paypal.com@evil.example{PATH}",
    "credentials before it": f"https://user@api.paypal.com{PATH}",
    "a port": f"https://api.paypal.com:8443{PATH}",
    "a wrong port": f"https://api.paypal.com:x{PATH}",
    "a query": f"https://api.paypal.com{PATH}?next=http://evil.example",
    "another path": "https://api.paypal.com/v1/oauth2/token",
    "a way up": "https://api.paypal.com/v1/notifications/certs/../../../evil",
    "an encoded way up": "https://api.paypal.com/v1/notifications/certs/CERT-%2e%2e",
    "a backslash": "https://api.paypal.com\\@evil.example/v1/notifications/certs/CERT-1",
    "metadata of a cloud": "http://169.254.169.254/v1/notifications/certs/CERT-1",
    "this machine": f"http://127.0.0.1:6379{PATH}",
    "a file": "file:///v1/notifications/certs/CERT-1",
    "nothing": "",
    "a long one": f"https://api.paypal.com{PATH}" + "1" * 1_000,
    "a bracket": f"https://[api.paypal.com{PATH}",
}


@pytest.mark.parametrize("url", STRANGE.values(), ids=STRANGE)
def test_a_certificate_is_fetched_from_paypals_own_hosts_only(url: str) -> None:
    with pytest.raises(WebhookRejected) as refused:
        read_certificate_url(url, PRIVATE)
    assert (refused.value.status, refused.value.reason) == (400, "certificate_url")


def test_paypals_hosts_and_a_test_host_that_the_environment_allows_may_have_certificates() -> None:
    for host in (certificates.LIVE_HOST, certificates.TEST_HOST):
        assert not read_certificate_url(f"https://{host}{PATH}", PRIVATE).is_private
    assert read_certificate_url(f"http://{HOST}/paypal{PATH}", PRIVATE).is_private


PAYPALS = read_certificate_url(f"https://api.paypal.com{PATH}", PRIVATE)
TESTS = read_certificate_url(f"http://{HOST}/paypal{PATH}", PRIVATE)


def test_a_chain_is_checked_for_its_authority_its_name_and_its_time() -> None:
    chain = signer_of(NAME).chain
    key = check_chain(chain, TESTS, NOW)
    assert key.public_numbers() == signer_of(NAME).key.public_key().public_numbers()
    # An authority of the sender's own is trusted at a test host alone.
    with pytest.raises(ValueError, match="no trusted authority"):
        check_chain(chain, PAYPALS, NOW)
    year = datetime.timedelta(days=366)
    for moment in (NOW + year, NOW - year):
        with pytest.raises(ValueError, match="vouches for the certificate now"):
            check_chain(chain, TESTS, moment)
    for name in ("evil.example", "paypal.com.evil.example", "evilpaypal.com"):
        with pytest.raises(ValueError, match="not PayPal's"):
            check_chain(signer_of(name).chain, TESTS, NOW)


def test_a_forged_chain_is_refused() -> None:
    own, authority = x509.load_pem_x509_certificates(signer_of(NAME).chain)
    _, other = x509.load_pem_x509_certificates(signer_of("a.paypal.com").chain)
    pem = [one.public_bytes(serialization.Encoding.PEM) for one in (own, other, authority)]
    for chain in (pem[0] + pem[1], pem[0], pem[2], b"", b"no certificate", pem[0] * 20):
        with pytest.raises(ValueError):  # noqa: PT011  # of the library or of ours
            check_chain(chain, TESTS, NOW)


class Fetches:
    """What is fetched, and how often."""

    def __init__(self, *answers: ProviderAnswer | Exception) -> None:
        self.answers, self.urls = list(answers), list[str]()

    def __call__(self, url: str) -> ProviderAnswer:
        self.urls.append(url)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


GOOD = ProviderAnswer(200, signer_of(NAME).chain, None)


def test_a_certificate_is_fetched_once() -> None:
    fetches = Fetches(GOOD)
    known = Certificates(fetches)
    assert known.find(TESTS) is known.find(TESTS)
    assert len(fetches.urls) == 1


@pytest.mark.parametrize("answer", [ProviderAnswer(404, b"", None), ProviderAnswer(200, b"no", None)])
def test_what_is_no_certificate_is_refused_and_not_asked_for_again(answer: ProviderAnswer) -> None:
    fetches = Fetches(answer)
    known = Certificates(fetches)
    for _ in range(3):
        with pytest.raises(WebhookRejected) as refused:
            known.find(TESTS)
        assert refused.value.status == 400
    assert len(fetches.urls) == 1


@pytest.mark.parametrize("answer", [Unavailable(), NotSent(), ProviderAnswer(503, b"", None)])
def test_a_certificate_that_cannot_be_had_now_is_asked_for_again(answer: ProviderAnswer | Exception) -> None:
    fetches = Fetches(answer, GOOD)
    known = Certificates(fetches)
    with pytest.raises(WebhookRejected) as refused:
        known.find(TESTS)
    assert refused.value.status == 503
    known.find(TESTS)


def test_strangers_cause_no_more_than_a_few_fetches() -> None:
    fetches = Fetches(ProviderAnswer(404, b"", None))
    known = Certificates(fetches)
    statuses = []
    for number in range(40):
        with pytest.raises(WebhookRejected) as refused:
            known.find(read_certificate_url(f"https://api.paypal.com{PATH}{number}", PRIVATE))
        statuses.append(refused.value.status)
    assert len(fetches.urls) == certificates.FETCHES_MAX
    assert statuses == [400] * certificates.FETCHES_MAX + [503] * (40 - certificates.FETCHES_MAX)


def signed(shift: float = 0.0, secret: str = SECRET) -> dict[str, str]:
    unsigned = Unsigned("msg_1", int(time.time() + shift), BODY, (secret,), f"http://{HOST}")
    return {name.lower(): value for name, value in PayPalProtocol().sign(unsigned).items()}


def verify(headers: dict[str, str], body: bytes = BODY, secrets: tuple[str, ...] = (SECRET,)) -> str:
    adapter = PayPalAdapter(PRIVATE)
    adapter._certificates = Certificates(Fetches(GOOD))
    keys = [adapter.read_key(Scheme(), secret) for secret in secrets]
    return adapter.verify(Scheme(), keys, Received(headers, body, json.loads(body)), time.time())


def test_a_signature_holds_for_its_body_its_webhook_and_its_time() -> None:
    assert verify(signed()) == json.loads(BODY)["id"]
    assert verify(signed(), secrets=("0" * 17, SECRET)) == json.loads(BODY)["id"]
    assert verify(signed(-AGE_SECONDS_MAX + 60)) == json.loads(BODY)["id"]
    other = json.dumps({"id": "WH-2"}).encode()
    for headers, body, secrets in (
        (signed(), other, (SECRET,)),
        (signed(), BODY, ("0" * 17,)),
        (signed(secret="0" * 17), BODY, (SECRET,)),
        (signed(-AGE_SECONDS_MAX - 60), BODY, (SECRET,)),
        (signed(600), BODY, (SECRET,)),
    ):
        with pytest.raises(WebhookRejected) as refused:
            verify(headers, body, secrets)
        assert refused.value.status == 400


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_of_the_signature_is_needed_and_counts(name: str) -> None:
    headers = signed()
    for value in (None, "", "x", headers[name] + "A"):
        changed = {key: each for key, each in headers.items() if key != name} | ({} if value is None else {name: value})
        if name == CERTIFICATE_URL and value == headers[name] + "A":
            # Another address at the test host, which serves the same certificate here.
            continue
        with pytest.raises(WebhookRejected):
            verify(changed)
