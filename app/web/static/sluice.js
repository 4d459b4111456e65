/**
 * Sluice in the browser: make a deposit and watch it.
 *
 * Works in every browser with ES2022 modules and needs nothing else. Types: sluice.d.ts in this folder.
 * A client token (`ct_...`) comes from your own backend by POST /api/client-tokens; a secret key never belongs here.
 */
import { call, pause, randomUuid } from './sluice/requests.js';
import { Watcher } from './sluice/watcher.js';

export { SluiceError } from './sluice/requests.js';
export { MESSAGE_TYPES } from './sluice/lines.js';

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
