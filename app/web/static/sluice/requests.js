// Six tries span 12 to 23 seconds with the pauses below, longer than a restart of the server takes.
const MAX_TRIES = 6;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 8_000;
// A person at a form does not wait longer than a minute: a later Retry-After is handed to the page as an error.
const LONGEST_RETRY_AFTER_MS = 60_000;
// An answer that is this much later than the wait that was asked for is not coming: the connection is dead.
const ANSWER_GRACE_MS = 10_000;
// A page's own backend makes a token in far less; without a limit a getToken() that hangs would hang everything.
const TOKEN_LIMIT_MS = 30_000;
const TOKEN = /^[\w.~-]+$/;
// After these the same request may be sent again: reads change nothing, and a deposit carries its idempotency key.
// 0 stands for an answer that never came or came torn.
const RETRIED_STATUSES = new Set([0, 429, 502, 503, 504]);

/**
 * A refused or failed request: `status` (0 when no answer came), `problem` (RFC 9457) and its `errors`;
 * `retryAfterMs` is the pause that the server asked for, undefined without one.
 */
export class SluiceError extends Error {
  constructor(status, problem, { retryAfterMs, ...options } = {}) {
    super(problem.detail || problem.title || `HTTP ${status}`, options);
    this.name = 'SluiceError';
    this.status = status;
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }
}

/**
 * Sends one request and resolves to its JSON.
 * `request`: `{body, headers, query, waitSeconds, tries}`. Throws SluiceError, or the signal's reason when aborted.
 */
export async function call(options, method, path, request = {}) {
  const tries = request.tries ?? MAX_TRIES;
  let { token } = await takeToken(options, false);
  let renewed = false;
  for (let attempt = 1; ; attempt += 1) {
    const { content, failure } = await send(options, token, method, path, request);
    if (!failure) return content;
    if (failure.status === 401 && !renewed) {
      renewed = true;
      const access = await takeToken(options, true);
      // The same token again would only be refused again, and wrong tokens slow their caller down.
      if (access.token === token) throw failure;
      token = access.token;
      continue;
    }
    const { retryAfterMs } = failure;
    const retried = RETRIED_STATUSES.has(failure.status) && !(retryAfterMs > LONGEST_RETRY_AFTER_MS);
    if (!retried || attempt >= tries) throw failure;
    const backoffMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempt - 1)) * (0.5 + Math.random() / 2);
    await pause(retryAfterMs ?? backoffMs, options.signal);
  }
}

async function send(options, token, method, path, request) {
  const limit = new AbortController();
  const stop = () => limit.abort(options.signal.reason);
  options.signal?.throwIfAborted();
  options.signal?.addEventListener('abort', stop);
  const timer = setTimeout(() => limit.abort(), (request.waitSeconds ?? 0) * 1000 + ANSWER_GRACE_MS);
  try {
    const headers = { Accept: 'application/json', Authorization: `Bearer ${token}`, ...request.headers };
    if (request.body) headers['Content-Type'] = 'application/json';
    const response = await fetch(`${trimmed(options.baseUrl)}${path}${queryString(request.query)}`, {
      method,
      headers,
      body: request.body && JSON.stringify(request.body),
      signal: limit.signal,
      credentials: 'omit',
      cache: 'no-store',
    });
    if (response.ok) return { content: await response.json() };
    const problem = await response.json().catch(() => ({ title: response.statusText, status: response.status }));
    return { failure: new SluiceError(response.status, problem ?? {}, { retryAfterMs: readRetryAfter(response) }) };
  } catch (error) {
    options.signal?.throwIfAborted();
    const problem = { title: 'No answer', status: 0, detail: 'The server could not be reached or did not answer.' };
    return { failure: new SluiceError(0, problem, { cause: error }) };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', stop);
  }
}

/**
 * Asks the page for a token; `refresh` says that the one given before is no longer good.
 * `isBare`: the page gave the token's text only, so that the sockets' address is not known.
 * Throws where no token comes, also where none comes in time.
 */
export async function takeToken(options, refresh) {
  const given = await within(TOKEN_LIMIT_MS, options.signal, () => options.getToken({ refresh }));
  const isBare = typeof given === 'string';
  const access = isBare ? { token: given } : given;
  if (typeof access?.token !== 'string' || !TOKEN.test(access.token)) {
    throw new TypeError('getToken() must give a client token: its text, or the answer of POST /api/client-tokens.');
  }
  const endsAt = access.expires_at ? Date.parse(access.expires_at) : Infinity;
  return {
    token: access.token,
    isBare,
    socketsUrl: access.sockets_url ?? null,
    endsAt: Number.isNaN(endsAt) ? Infinity : endsAt,
  };
}

/** Buys one ticket for one event stream; the server's answer names the base of the sockets as well. */
export async function takeTicket(options, token) {
  const ticketOptions = { baseUrl: options.baseUrl, getToken: () => token };
  const { ticket, sockets_url: socketsUrl } = await call(ticketOptions, 'POST', '/api/tickets', { tries: 1 });
  return { ticket, socketsUrl };
}

/** A random UUID, also on pages without TLS, where browsers have no crypto.randomUUID. */
export function randomUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  // Version 4 and the variant of RFC 9562; the other 122 bits are random.
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Resolves as `work()` does; rejects when it takes longer than `ms` or the signal is aborted. */
async function within(ms, signal, work) {
  const stop = new AbortController();
  const forward = () => stop.abort(signal.reason);
  signal?.throwIfAborted();
  signal?.addEventListener('abort', forward);
  const late = pause(ms, stop.signal).then(() => { throw new Error('getToken() gave no token in time.'); });
  try {
    return await Promise.race([work(), late]);
  } finally {
    signal?.removeEventListener('abort', forward);
    late.catch(() => {});
    stop.abort();
  }
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason when it is aborted before. */
export function pause(ms, signal) {
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

/** Milliseconds of a Retry-After header, which holds seconds or a date; undefined without one. */
function readRetryAfter(response) {
  const header = response.headers.get('Retry-After');
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

function queryString(query) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `?${new URLSearchParams(given)}` : '';
}

export function trimmed(baseUrl) {
  return (baseUrl ?? '').replace(/\/+$/, '');
}
