// The server greets at once; without a greeting in this time something in between swallows the frames.
const HELLO_LIMIT_MS = 10_000;

/** The types that messages can have; an EventSource delivers only the types that it listens for. */
export const MESSAGE_TYPES = Object.freeze([
  'payment.redirect_ready', 'payment.completed', 'payment.failed', 'payment.cancelled', 'payment.review',
  'payment.reversed', 'payment.reinstated', 'payment.disputed',
  'refund.completed', 'refund.failed',
]);

/** One connection, socket or stream, from its opening to its single end. */
export class Line {
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
export function openSocket(base, token, after, line) {
  const url = address(base, 'ws', { after });
  url.protocol = url.protocol.replace('http', 'ws');
  const socket = new WebSocket(url, ['sluice.v1', `sluice.token.${token}`]);
  socket.onmessage = (event) => line.receive(event.data);
  socket.onclose = (event) => line.end(event.code);
  return socket;
}

/** Opens an event stream with a single-use ticket; its own reconnecting would use it twice: an error ends it. */
export function openStream(base, ticket, after, line) {
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
