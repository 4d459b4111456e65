/**
 * Sluice in the browser: make a deposit and watch it.
 *
 * One file without dependencies, so that it loads in one round trip; works in every browser with ES2022 modules, also on
 * pages without TLS. Types: sluice.d.ts in this folder.
 * A client token (`ct_...`) comes from your own backend by POST /api/client-tokens; a secret key never belongs here.
 */

// ---- Calls of the API ----------------------------------------------------------------------------------------------

// The server answers a waiting request after 10 seconds at the latest, so asking for more gains nothing.
const WAIT_LIMIT_SECONDS = 10;
// A wait that the server cut short (too many waiting requests) must not become a tight loop of requests.
const POLL_PAUSE_MS = 1_500;

/**
 * Makes a deposit and resolves to the payment once its `next_action` is there or it ended.
 * Lost answers, 429 and 503 are tried again with the same idempotency key, so the payment is made once.
 * `onPending` gets the payment as soon as it is made where the provider has not answered by then.
 */
export async function deposit(options) {
  requireFunctions(options, 'getToken');
  const wanted = Math.floor(Number(options.waitSeconds ?? WAIT_LIMIT_SECONDS));
  const waitSeconds = wanted >= 0 ? Math.min(wanted, WAIT_LIMIT_SECONDS) : WAIT_LIMIT_SECONDS;
  const body = {
    user_id: options.userId, amount: options.amount, currency: options.currency, provider_id: options.providerId,
    success_url: options.successUrl, failure_url: options.failureUrl, metadata: options.metadata,
    customer: options.customer, description: options.description,
  };
  const headers = { 'Idempotency-Key': options.idempotencyKey ?? randomUuid(), Prefer: `wait=${waitSeconds}` };
  let payment = await call(options, 'POST', '/api/payments/deposit', { body, headers, waitSeconds });
  if (isOpening(payment)) options.onPending?.(payment);
  while (isOpening(payment)) {
    const askedAt = Date.now();
    payment = await getPayment(payment.id, { ...options, wait: WAIT_LIMIT_SECONDS });
    const cutShort = isOpening(payment) && Date.now() - askedAt < POLL_PAUSE_MS;
    if (cutShort) await pause(POLL_PAUSE_MS, options.signal);
  }
  return payment;
}

const isOpening = (payment) => payment.status === 'pending' && !payment.next_action;

function requireFunctions(options, ...names) {
  for (const name of names) {
    if (typeof options?.[name] !== 'function') throw new TypeError(`The option ${name} must be a function.`);
  }
}

/** Resolves to one payment; with `wait` (seconds) as soon as it changed, with `until: 'ended'` as soon as it ended. */
export function getPayment(id, options) {
  const query = { wait: options.wait, version: options.version, until: options.until };
  return call(options, 'GET', `/api/payments/${encodeURIComponent(id)}`, { query, waitSeconds: options.wait ?? 0 });
}

/** Resolves to a page of payments, newest first: `{data, next_cursor}`. */
export function payments(options) {
  const query = { user_id: options.userId, status: options.status, limit: options.limit, cursor: options.cursor };
  return call(options, 'GET', '/api/payments', { query });
}

/** Cancels an open payment, sent once; for a payment that already ended it throws SluiceError with status 409. */
export function cancelPayment(id, options) {
  return call(options, 'POST', `/api/payments/${encodeURIComponent(id)}/cancel`, { tries: 1 });
}

/** Resolves to the user's wallets, one a currency: `{data}`. */
export function wallets(userId, options) {
  return call(options, 'GET', `/api/wallets/${encodeURIComponent(userId)}`);
}

/** Resolves to a page of a wallet's entries, newest first: `{data, next_cursor}`. */
export function walletTransactions(userId, options) {
  const query = { currency: options.currency, limit: options.limit, cursor: options.cursor };
  return call(options, 'GET', `/api/wallets/${encodeURIComponent(userId)}/transactions`, { query });
}

/** Resolves to the notifications with an id above `after` (0 is the start): `{data, next_cursor}`. */
export function events(options) {
  return call(options, 'GET', '/api/events', { query: { after: options.after ?? 0, limit: options.limit } });
}

/** Watches a user's payments until `close()`; from `lastId` a later `watch({after})` resumes without a gap. */
export function watch(options) {
  requireFunctions(options, 'getToken', 'onMessage');
  const watcher = new Watcher(options);
  watcher.start();
  return { close: () => watcher.close(), get lastId() { return watcher.lastId; } };
}

// ---- Requests: tokens, time limits, retries ------------------------------------------------------------------------

// Six tries span 12 to 23 seconds with the pauses below, longer than a restart of the server takes.
const MAX_TRIES = 6;
const FIRST_RETRY_PAUSE_MS = 1_000;
const LONGEST_RETRY_PAUSE_MS = 8_000;
// A person waits: a request whose Retry-After is later is handed to the page as an error, a connection is tried all the
// same.
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
 * A refused or failed request: `status` (0 when no answer came), `problem` (RFC 9457) and of it `errors`, `code` (a stable
 * word) and `requestId`; `retryAfterMs` is the pause that the server asked for, undefined without one.
 */
export class SluiceError extends Error {
  constructor(status, problem, { retryAfterMs, ...options } = {}) {
    super(problem.detail || problem.title || `HTTP ${status}`, options);
    this.name = 'SluiceError';
    this.status = status;
    this.problem = problem;
    this.code = problem.code;
    this.requestId = problem.request_id;
    this.retryAfterMs = retryAfterMs;
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
  }
}

/**
 * Sends one request and resolves to its JSON.
 * `request`: `{body, headers, query, waitSeconds, tries}`. Throws SluiceError, or the signal's reason when aborted.
 */
async function call(options, method, path, request = {}) {
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
    const longestMs = Math.min(LONGEST_RETRY_PAUSE_MS, FIRST_RETRY_PAUSE_MS * 2 ** (attempt - 1));
    await pause(retryAfterMs ?? longestMs * (0.5 + Math.random() / 2), options.signal);
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
async function takeToken(options, refresh) {
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
async function takeTicket(options, token) {
  const ticketOptions = { baseUrl: options.baseUrl, getToken: () => token };
  const { ticket, sockets_url: socketsUrl } = await call(ticketOptions, 'POST', '/api/tickets', { tries: 1 });
  return { ticket, socketsUrl };
}

/** Returns a random UUID, for an idempotency key that is kept; also on pages without TLS, where browsers have no crypto.randomUUID. */
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

function trimmed(baseUrl) {
  return (baseUrl ?? '').replace(/\/+$/, '');
}

// ---- Lines: one WebSocket or event stream each ---------------------------------------------------------------------

// The server greets at once; without a greeting in this time something in between swallows the frames.
const HELLO_LIMIT_MS = 10_000;

/** The types that messages can have; an EventSource delivers only the types that it listens for. */
export const MESSAGE_TYPES = Object.freeze([
  'payment.redirect_ready', 'payment.completed', 'payment.failed', 'payment.cancelled', 'payment.review',
  'payment.reversed', 'payment.reinstated', 'payment.disputed',
  'refund.completed', 'refund.failed',
]);

/** One connection, socket or stream, from its opening to its single end. */
class Line {
  #on;
  #connection = null;
  #ended = false;
  #greetedAt = null;
  #helloTimer;

  /** `on`: `hello(message)`, `message(message)`, `end(closeCode)` at most once, `broken(error)`. */
  constructor(kind, on) {
    this.kind = kind;
    this.#on = on;
    this.#helloTimer = setTimeout(() => this.end(0), HELLO_LIMIT_MS);
  }

  /** Opens the connection; a refusal on the spot (mixed content, bad address) ends the line like any other failure. */
  attach(open) {
    try {
      this.#connection = open();
    } catch (error) {
      this.#on.broken(error);
      // The end must not come before the caller knows the line that ends.
      setTimeout(() => this.end(0), 0);
    }
  }

  receive(text, type) {
    if (this.#ended) return;
    let message;
    try {
      message = { type, ...JSON.parse(text) };
    } catch (error) {
      this.#on.broken(error);
      this.end(0);
      return;
    }
    if (message.type !== 'hello') {
      this.#on.message(message);
      return;
    }
    clearTimeout(this.#helloTimer);
    this.#greetedAt = performance.now();
    this.#on.hello(message);
  }

  end(code) {
    if (this.#ended) return;
    this.stop();
    this.#on.end(code);
  }

  /** Ends the line without a callback. */
  stop() {
    this.#ended = true;
    clearTimeout(this.#helloTimer);
    this.#connection?.close();
  }

  /** Milliseconds since the greeting; null when there was none. */
  livedMs() {
    return this.#greetedAt === null ? null : performance.now() - this.#greetedAt;
  }
}

/** Opens a WebSocket; the token goes as a subprotocol, because browsers set no headers and addresses end up in logs. */
function openSocket(base, token, after, line) {
  const url = address(base, 'ws', { after });
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url, ['sluice.v1', `sluice.token.${token}`]);
  socket.onmessage = (event) => line.receive(event.data);
  socket.onclose = (event) => line.end(event.code);
  return socket;
}

/** Opens an event stream with a single-use ticket; its own reconnecting would use it twice: an error ends it. */
function openStream(base, ticket, after, line) {
  const source = new EventSource(address(base, 'api/stream', { ticket, after }));
  for (const type of ['hello', 'message', ...MESSAGE_TYPES]) {
    source.addEventListener(type, (event) => line.receive(event.data, event.type));
  }
  source.onerror = () => line.end(0);
  return source;
}

function address(base, path, query) {
  const url = new URL(`${base.replace(/\/+$/, '')}/${path}`, globalThis.location?.href);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null) url.searchParams.set(name, value);
  }
  return url;
}

// ---- Watching: one line after the other ----------------------------------------------------------------------------

// Pauses between connections are drawn from [0, min(30 s, 1 s * 2^n)]: full jitter keeps browsers from
// coming back all at once.
const FIRST_LINE_PAUSE_MS = 1_000;
const LONGEST_LINE_PAUSE_MS = 30_000;
// Close code 1012 is a server that restarts and drops everybody together, so the first pause is spread wider.
const SERVER_RESTARTS = 1012;
const RESTART_PAUSE_MS = 5_000;
// The server closes with 4401 when the token ended or its key was revoked.
const TOKEN_ENDED = 4401;
// Only a connection that lived this long counts as good; one that is accepted and dropped at once keeps backing off.
const STABLE_MS = 10_000;
// Proxies that block WebSockets do so every time: three failures in a row are enough to use the stream instead.
const SOCKET_TRIES = 3;
// Interval at which a working stream tries the socket again, which is cheaper for the server.
const SOCKET_PROBE_MS = 60_000;
// A token about to end is replaced before it is used, so that a slow handshake does not outlive it.
const TOKEN_MARGIN_MS = 30_000;

/** Keeps one connection to the server alive: socket first, stream where sockets do not get through. */
class Watcher {
  #options;
  #access = null;
  #askedBefore = false;
  #line = null;
  #probe = null;
  #timer = null;
  #probeTimer = null;
  #state = null;
  #closed = false;
  // Whether the next connection waits for its pause, rather than for an answer.
  #waiting = false;
  #round = 0;
  #failures = 0;
  #socketFailures = 0;
  // Messages up to #seen were handed over; #cursor is where a new connection resumes. They differ after a reset only.
  #seen = 0;
  #cursor = null;
  // Where a ticket's answer said that sockets are; null as long as none was asked for.
  #socketsUrl = null;

  constructor(options) {
    this.#options = options;
    if (options.after !== undefined && options.after !== null) {
      const after = Number(options.after);
      if (!Number.isSafeInteger(after) || after < 0) throw new TypeError('The option after must be a message id.');
      this.#cursor = after;
      this.#seen = this.#cursor;
    }
  }

  get lastId() { return this.#cursor; }

  start() {
    globalThis.addEventListener?.('online', this.#onOnline);
    globalThis.addEventListener?.('offline', this.#onOffline);
    globalThis.document?.addEventListener('visibilitychange', this.#onVisible);
    this.#connect();
  }

  close() {
    this.#closed = true;
    this.#round += 1;
    globalThis.removeEventListener?.('online', this.#onOnline);
    globalThis.removeEventListener?.('offline', this.#onOffline);
    globalThis.document?.removeEventListener('visibilitychange', this.#onVisible);
    clearTimeout(this.#timer);
    clearTimeout(this.#probeTimer);
    this.#line?.stop();
    this.#probe?.stop();
    this.#setState('closed');
  }

  #onOnline = () => { if (!this.#line) this.#connect(); };
  // Timers of a tab in the background are slowed down to minutes: connect at once when the tab is shown again.
  #onVisible = () => { if (document.visibilityState === 'visible' && !this.#line && this.#waiting) this.#connect(); };
  // A socket over a network that went away can look open for minutes; resuming costs less than that silence.
  #onOffline = () => { this.#line?.end(0); };

  async #connect() {
    clearTimeout(this.#timer);
    this.#waiting = false;
    const round = (this.#round += 1);
    this.#setState(this.#state === null ? 'connecting' : 'reconnecting');
    const kind = this.#socketFailures < SOCKET_TRIES ? 'socket' : 'stream';
    try {
      const line = await this.#open(kind, () => round === this.#round);
      if (line) this.#line = line;
    } catch (error) {
      if (round !== this.#round) return;
      // The next try asks for a new token: a refused ticket is nearly always a token that ended or was revoked.
      this.#access = null;
      this.#report(error);
      if (kind === 'stream') this.#socketFailures = SOCKET_TRIES - 1;
      this.#connectLater(0, Math.min(error?.retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS));
    }
  }

  /** Opens one connection; null when `wanted()` says that it came too late. */
  async #open(kind, wanted) {
    const access = await this.#currentAccess();
    // A token given as text does not say where the sockets are; the answer with a ticket does.
    const isLost = access.isBare && !this.#socketsUrl;
    const bought = kind === 'stream' || isLost ? await takeTicket(this.#options, access.token) : null;
    if (bought) this.#socketsUrl = bought.socketsUrl ?? trimmed(this.#options.baseUrl);
    // Where a ticket was bought, its answer is the newer one: sockets may have moved since the token was made.
    const base = bought?.socketsUrl ?? access.socketsUrl ?? this.#socketsUrl ?? trimmed(this.#options.baseUrl);
    if (!wanted()) return null;
    const after = this.#cursor;
    const line = new Line(kind, {
      hello: (message) => this.#greeted(line, message),
      message: (message) => this.#deliver(message),
      end: (code) => this.#ended(line, code),
      broken: (error) => this.#report(error),
    });
    const open = kind === 'socket'
      ? () => openSocket(base, access.token, after, line)
      : () => openStream(base, bought.ticket, after, line);
    line.attach(open);
    return line;
  }

  #greeted(line, hello) {
    if (line === this.#probe) {
      this.#line?.stop();
      this.#line = line;
      this.#probe = null;
    }
    if (line.kind === 'socket') this.#socketFailures = 0;
    else this.#probeLater();
    this.#resume(hello);
    this.#setState(line.kind === 'socket' ? 'live' : 'fallback');
  }

  #resume(hello) {
    if (hello.resumed || !Number.isInteger(hello.last_id)) return;
    const gap = this.#cursor !== null;
    // What the server still holds of the gap follows; after a restore from a backup its ids may even be smaller.
    this.#seen = Math.min(this.#seen, hello.last_id);
    this.#cursor = hello.last_id;
    if (gap) this.#hand(this.#options.onReset, hello);
  }

  #deliver(message) {
    if (Number.isInteger(message.id)) {
      if (message.id <= this.#seen) return;
      this.#seen = message.id;
      this.#cursor = Math.max(this.#cursor ?? 0, message.id);
    }
    this.#hand(this.#options.onMessage, message);
  }

  #ended(line, code) {
    if (line === this.#probe) {
      this.#probe = null;
      this.#probeLater();
      return;
    }
    if (line !== this.#line || this.#closed) return;
    this.#line = null;
    clearTimeout(this.#probeTimer);
    this.#probe?.stop();
    this.#probe = null;
    const lived = line.livedMs();
    // A page cannot read why a handshake failed; a token that is no longer good is one of the reasons.
    if (code === TOKEN_ENDED || lived === null) this.#access = null;
    if (lived === null) this.#socketFailures = line.kind === 'socket' ? this.#socketFailures + 1 : SOCKET_TRIES - 1;
    if (lived !== null && lived >= STABLE_MS) this.#failures = 0;
    if (code === TOKEN_ENDED && lived !== null && this.#failures === 0) {
      this.#failures = 1;
      this.#connect();
    } else {
      this.#connectLater(code === SERVER_RESTARTS ? RESTART_PAUSE_MS : 0);
    }
  }

  #connectLater(leastSpreadMs, leastMs = 0) {
    if (this.#closed) return;
    this.#setState('reconnecting');
    const spread = Math.max(leastSpreadMs, Math.min(LONGEST_LINE_PAUSE_MS, FIRST_LINE_PAUSE_MS * 2 ** this.#failures));
    this.#failures += 1;
    this.#waiting = true;
    this.#timer = setTimeout(() => this.#connect(), leastMs + Math.random() * spread);
  }

  #probeLater() {
    clearTimeout(this.#probeTimer);
    if (this.#closed) return;
    this.#probeTimer = setTimeout(async () => {
      const round = this.#round;
      try {
        this.#probe = await this.#open('socket', () => round === this.#round && this.#line?.kind === 'stream');
      } catch (error) {
        this.#report(error);
        this.#probeLater();
      }
    }, this.#options.socketProbeMs ?? SOCKET_PROBE_MS);
  }

  async #currentAccess() {
    if (!this.#access || this.#access.endsAt - Date.now() < TOKEN_MARGIN_MS) {
      const refresh = this.#askedBefore;
      this.#askedBefore = true;
      this.#access = await takeToken(this.#options, refresh);
    }
    return this.#access;
  }

  #setState(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#hand(this.#options.onState, state);
  }

  /** Calls the page's function; its exception must not break the connection. */
  #hand(receive, value) {
    try {
      receive?.(value);
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error) {
    try {
      if (this.#options.onError) this.#options.onError(error);
      else console.warn('sluice:', error);
    } catch (failure) {
      // An exception from here would end the watching silently.
      console.warn('sluice: onError failed', failure);
    }
  }
}
