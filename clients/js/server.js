/** Sluice for a shop's backend in JavaScript: calls with a secret key, events as they come, verified webhooks. */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

// How long an answer may take, in addition to the wait that was asked for.
const ANSWER_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8_000;
// A caller waits: a later Retry-After becomes the error.
const LONGEST_RETRY_AFTER_MS = 60_000;
// These say that nothing was done; the others do not know.
const NOT_DONE = new Set([429, 503]);
const UNKNOWN = new Set([0, 500, 502, 504]);
const POLL_SECONDS = 30;
// A server that is busy answers at once instead of waiting: polls must not become a tight loop then.
const POLL_PAUSE_MS = 1_000;
// The specification's; an older delivery may be a replay.
const TOLERANCE_SECONDS = 300;

/** The API answered with an error, or, with status 0, not at all. Act by `code`; give `requestId` to the operator. */
export class SluiceApiError extends Error {
  constructor(status, problem, requestId, { retryAfterMs, ...options } = {}) {
    const detail = problem.detail || problem.title || 'no answer';
    super(`${status} ${problem.code ?? ''}: ${detail} (request ${problem.request_id ?? requestId})`, options);
    this.name = 'SluiceApiError';
    this.status = status;
    this.code = problem.code ?? (status ? `http_${status}` : 'no_answer');
    this.requestId = problem.request_id ?? requestId;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfterMs = retryAfterMs;
  }
}

export class WebhookVerificationError extends Error {
  name = 'WebhookVerificationError';
}

/** Calls Sluice with a secret key. Each try of a call that moves money has the same idempotency key. */
export class SluiceClient {
  #base;
  #key;
  #retries;

  constructor({ baseUrl, secretKey, retries = 5 }) {
    this.#base = baseUrl.replace(/\/+$/, '');
    this.#key = secretKey;
    this.#retries = retries;
  }

  createClientToken(userId) {
    return this.#send('POST', '/api/client-tokens', { body: { user_id: userId } });
  }

  /** Resolves to the payment once its `redirect_url` is there or `wait` seconds have passed. */
  createDeposit({ wait = 10, idempotencyKey, ...body }) {
    const headers = { ...keyed(idempotencyKey), Prefer: `wait=${wait}` };
    return this.#send('POST', '/api/payments/deposit', { body, headers, wait });
  }

  getPayment(id, query = {}) {
    return this.#send('GET', `/api/payments/${encodeURIComponent(id)}`, { query, wait: query.wait });
  }

  listPayments(query = {}) {
    return this.#send('GET', '/api/payments', { query });
  }

  cancelPayment(id) {
    return this.#send('POST', `/api/payments/${encodeURIComponent(id)}/cancel`, { isRepeatable: false });
  }

  /** Gives `amount`, or all that is left, back to the payer. */
  createRefund(paymentId, { idempotencyKey, ...body } = {}) {
    const path = `/api/payments/${encodeURIComponent(paymentId)}/refunds`;
    return this.#send('POST', path, { body, headers: keyed(idempotencyKey) });
  }

  getRefund(id) {
    return this.#send('GET', `/api/refunds/${encodeURIComponent(id)}`);
  }

  listRefunds(paymentId) {
    return this.#send('GET', `/api/payments/${encodeURIComponent(paymentId)}/refunds`);
  }

  listWallets(userId) {
    return this.#send('GET', `/api/wallets/${encodeURIComponent(userId)}`);
  }

  listEntries(userId, query = {}) {
    return this.#send('GET', `/api/wallets/${encodeURIComponent(userId)}/transactions`, { query });
  }

  createDebit(userId, { idempotencyKey, ...body }) {
    const path = `/api/wallets/${encodeURIComponent(userId)}/debits`;
    return this.#send('POST', path, { body, headers: keyed(idempotencyKey) });
  }

  reverseDebit(id, body = {}) {
    return this.#send('POST', `/api/debits/${encodeURIComponent(id)}/reverse`, { body, isRepeatable: false });
  }

  listEvents({ after = 0, ...query } = {}, { signal } = {}) {
    return this.#send('GET', '/api/events', { query: { after, ...query }, wait: query.wait, signal });
  }

  /**
   * Yields all events with an id above `after` (0 is the start) as they come, without an end; it resumes where the
   * server fails. Store `event.id` with what you made of the event.
   */
  async *streamEvents({ after, signal }) {
    for (let failures = 0, last = after; ;) {
      const askedAt = Date.now();
      try {
        const { data } = await this.listEvents({ after: last, wait: POLL_SECONDS }, { signal });
        failures = 0;
        for (const event of data) {
          last = event.id;
          yield event;
        }
        if (!data.length && Date.now() - askedAt < POLL_PAUSE_MS) await pause(POLL_PAUSE_MS, signal);
      } catch (error) {
        if (!isPassing(error)) throw error;
        failures += 1;
        await pause(error.retryAfterMs ?? backOff(failures), signal);
      }
    }
  }

  async #send(method, path, call = {}) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#try(method, path, call);
      } catch (error) {
        const repeatable = (call.isRepeatable ?? true) || NOT_DONE.has(error.status);
        const tooLong = error.retryAfterMs > LONGEST_RETRY_AFTER_MS;
        if (tries > this.#retries || !isPassing(error) || !repeatable || tooLong) throw error;
        await pause(error.retryAfterMs ?? backOff(tries), call.signal);
      }
    }
  }

  async #try(method, path, { body, headers, query, wait = 0, signal }) {
    const requestId = randomUUID();
    const limit = AbortSignal.timeout(ANSWER_MS + wait * 1000);
    const stop = new AbortController();
    const end = () => stop.abort();
    limit.addEventListener('abort', end, { once: true });
    signal?.throwIfAborted();
    signal?.addEventListener('abort', end, { once: true });
    let response, text;
    try {
      response = await fetch(`${this.#base}${path}${queryString(query)}`, {
        method,
        headers: {
          Accept: 'application/json', Authorization: `Bearer ${this.#key}`, 'X-Request-Id': requestId,
          ...(body && { 'Content-Type': 'application/json' }), ...headers,
        },
        body: body && JSON.stringify(body),
        signal: stop.signal,
      });
      text = await response.text();
    } catch (error) {
      signal?.throwIfAborted();
      throw new SluiceApiError(0, {}, requestId, { cause: error });
    } finally {
      signal?.removeEventListener('abort', end);
      limit.removeEventListener('abort', end);
    }
    const content = parsed(text);
    if (response.ok && content === undefined) throw new SluiceApiError(0, { title: 'torn answer' }, requestId);
    if (response.ok) return content;
    throw new SluiceApiError(response.status, content ?? {}, requestId, { retryAfterMs: readRetryAfter(response) });
  }
}

const keyed = (idempotencyKey) => ({ 'Idempotency-Key': idempotencyKey ?? randomUUID() });

const isPassing = (error) =>
  error instanceof SluiceApiError && (NOT_DONE.has(error.status) || UNKNOWN.has(error.status));

const backOff = (failures) =>
  Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 8)) * (0.5 + Math.random() / 2);

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function queryString(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

function readRetryAfter(response) {
  const header = response.headers.get('Retry-After');
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/**
 * Returns the event of a delivery whose signature holds (Standard Webhooks); else throws WebhookVerificationError.
 * `body` is the raw body, text or bytes. `secrets` are `whsec_...`: one, or while a rotation overlaps both.
 * The header `webhook-id` is the same on each try: an id seen before is a duplicate.
 */
export function verifyWebhook(body, headers, secrets, options = {}) {
  const { toleranceSeconds = TOLERANCE_SECONDS, now = Date.now() / 1000 } = options;
  const read = headerReader(headers);
  const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map(read);
  if (!/^[0-9]{1,12}$/.test(timestamp)) {
    throw new WebhookVerificationError('the timestamp is no whole number of seconds');
  }
  if (Math.abs(now - Number(timestamp)) > toleranceSeconds) {
    throw new WebhookVerificationError(`the timestamp is more than ${toleranceSeconds} seconds off`);
  }
  const bytes = Buffer.from(body);
  const ours = signatures.split(' ').filter((entry) => entry.startsWith('v1,'));
  const given = ours.map((entry) => Buffer.from(entry.slice(3)));
  const expected = [secrets].flat().map((secret) => {
    const hmac = createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.`).update(bytes);
    return Buffer.from(hmac.digest('base64'));
  });
  const isOne = (one, other) => one.length === other.length && timingSafeEqual(one, other);
  if (!given.some((one) => expected.some((other) => isOne(one, other)))) {
    throw new WebhookVerificationError('no signature is right');
  }
  const event = parsed(bytes.toString('utf8'));
  if (event === undefined) throw new WebhookVerificationError('the body is no JSON');
  return event;
}

function headerReader(headers) {
  const entries = typeof headers.entries === 'function' ? [...headers.entries()] : Object.entries(headers);
  const values = new Map(entries.map(([name, value]) => [name.toLowerCase(), value]));
  return (name) => {
    const value = values.get(name);
    if (typeof value !== 'string' || !value) throw new WebhookVerificationError(`the header ${name} is missing`);
    return value;
  };
}

function keyOf(secret) {
  const text = String(secret).replace(/^whsec_/, '');
  const key = Buffer.from(text, 'base64');
  // Buffer skips characters that are none of base64, and would make another key of a damaged secret.
  if (!key.length || key.toString('base64') !== text) throw new TypeError('a secret is whsec_ and base64');
  return key;
}
