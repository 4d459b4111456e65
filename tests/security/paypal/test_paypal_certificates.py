"""Who may sign PayPal's webhooks: its own hosts, names and authorities, within bounds that no sender can move."""

from __future__ import annotations

import datetime
import json
import threading
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
SHOP = "a shop"
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
    assert known.find(TESTS, SHOP) is known.find(TESTS, SHOP)
    assert len(fetches.urls) == 1


@pytest.mark.parametrize("answer", [ProviderAnswer(404, b"", None), ProviderAnswer(200, b"no", None)])
def test_what_is_no_certificate_is_refused_and_not_asked_for_again(answer: ProviderAnswer) -> None:
    fetches = Fetches(answer)
    known = Certificates(fetches)
    for _ in range(3):
        with pytest.raises(WebhookRejected) as refused:
            known.find(TESTS, SHOP)
        assert refused.value.status == 400
    assert len(fetches.urls) == 1


@pytest.mark.parametrize("answer", [Unavailable(), NotSent(), ProviderAnswer(503, b"", None)])
def test_a_certificate_that_cannot_be_had_now_is_asked_for_again(answer: ProviderAnswer | Exception) -> None:
    fetches = Fetches(answer, GOOD)
    known = Certificates(fetches)
    with pytest.raises(WebhookRejected) as refused:
        known.find(TESTS, SHOP)
    assert refused.value.status == 503
    known.find(TESTS, SHOP)


def ask(known: Certificates, number: int, account: object = "shop") -> int:
    """Ask for a certificate of PayPal's by a number; return the status of the refusal, 200 where it is there."""
    try:
        known.find(read_certificate_url(f"http://{HOST}/paypal{PATH}{number}", PRIVATE), account)
    except WebhookRejected as refused:
        return refused.status
    return 200


NONE = ProviderAnswer(404, b"", None)


def test_strangers_cause_no_more_than_a_few_fetches_for_an_account_and_in_all() -> None:
    fetches = Fetches(NONE)
    known = Certificates(fetches)
    most = certificates.FETCHES_PER_ACCOUNT
    assert [ask(known, number) for number in range(40)] == [400] * most + [503] * (40 - most)
    assert ask(known, 40, "another shop") == 400
    for number in range(41, 141):
        ask(known, number, number)
    assert len(fetches.urls) == certificates.FETCHES_MAX


def test_a_certificate_that_was_good_is_served_and_fetched_anew_during_a_flood() -> None:
    now = [0.0]
    answers = {1: GOOD}
    known = Certificates(lambda url: answers.get(int(url.rpartition("CERT-1")[2]), NONE), lambda: now[0])
    assert ask(known, 1) == 200

    def flood() -> None:
        for number in range(100, 200):
            ask(known, number, number)

    flood()
    assert [ask(known, 1), ask(known, 2)] == [200, 503]
    # Its time in the cache is over, and the strangers have used up all that is for them.
    now[0] += certificates.KEY_SECONDS
    flood()
    assert [ask(known, 1), ask(known, 2)] == [200, 503]
    now[0] += certificates.FETCHES_SECONDS
    answers[2] = GOOD
    assert ask(known, 2) == 200


def test_a_certificate_that_was_good_does_not_wait_for_the_fetch_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    held, free = threading.Event(), threading.Event()

    def fetch(url: str) -> ProviderAnswer:
        if url.endswith("CERT-12"):
            held.set()
            assert free.wait(60)
        return GOOD

    known = Certificates(fetch, lambda: now[0])
    assert ask(known, 1) == 200
    now[0] += certificates.KEY_SECONDS
    stranger = threading.Thread(target=ask, args=(known, 2))
    stranger.start()
    assert held.wait(60)
    monkeypatch.setattr(certificates, "WAIT_SECONDS", 0.01)
    assert [ask(known, 1), ask(known, 3)] == [200, 503]
    free.set()
    stranger.join()
    assert ask(known, 3) == 200


def test_one_certificate_that_cannot_be_had_leaves_fetches_for_others() -> None:
    fetches = Fetches(Unavailable())
    known = Certificates(fetches)
    assert [ask(known, 1) for _ in range(10)] == [503] * 10
    assert len(fetches.urls) == certificates.FETCHES_PER_URL
    fetches.answers = [GOOD]
    assert ask(known, 2) == 200


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
