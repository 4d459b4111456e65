import { takeTicket, takeToken, trimmed } from './requests.js';
import { Line, openSocket, openStream } from './lines.js';

// Pauses between connections are drawn from [0, min(30 s, 1 s * 2^n)]: full jitter keeps browsers from
// coming back all at once.
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
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
// A person watches: a server that asks for more is asked again all the same.
const LONGEST_RETRY_AFTER_MS = 60_000;

/** Keeps one connection to the server alive: socket first, stream where sockets do not get through. */
export class Watcher {
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
    const base = access.socketsUrl ?? this.#socketsUrl ?? trimmed(this.#options.baseUrl);
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
    const spread = Math.max(leastSpreadMs, Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures));
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
