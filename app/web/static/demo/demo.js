/** The demo page: makes deposits for a random user and shows live how they proceed. It only reads on return. */
import * as sluice from 'sluice';
import { failureText, hasEnded } from './words.js';
import * as view from './view.js';

// Enough to see the whole of a demo; the rest is a page further in the API.
const SHOWN_PAYMENTS = 10;
const SHOWN_ENTRIES = 20;
// Events of one payment come in pairs; one read of the wallets is enough for both.
const WALLET_DELAY_MS = 60;
// Without a live connection the payment is polled by waiting requests, with a pause between two of them; with one it is
// polled less and less often while its payer is back: the commitment to a slow method has no message.
const ASK_PAUSE_MS = 2_000;
const ASK_PAUSE_MAX_MS = 30_000;
// Older events are in the payments list; more lines than this only push the page down.
const FEED_LINES = 12;
// The provider mostly answers within a second; after this the page shows the state.
const FIRST_WAIT_SECONDS = 2;
// A request that was not answered by then is said to take long, and may be given up.
const PATIENCE_MS = 5_000;
// A token about to end is replaced before it is used.
const TOKEN_MARGIN_MS = 30_000;

const arrival = new URLSearchParams(location.search);
const store = {
  get: (name) => sessionStorage.getItem(`sluice.${name}`),
  set: (name, value) => sessionStorage.setItem(`sluice.${name}`, value),
};

const arrived = arrival.get('payment_id') || (arrival.has('returned') ? store.get('opened') : null);
const payments = new Map();
const link = { state: 'connecting' };
// The providers that a deposit may name; while none are known, the tenant's default takes it.
let providers = [];
let minting = null;
let access = null;
let shown = arrived;
let attempt = null;
let busy = false;
let asking = false;
let walletTimer = null;
let stopping = new AbortController();

const api = { getToken };

async function getToken({ refresh }) {
  const ending = access && Date.parse(access.expires_at) - Date.now() < TOKEN_MARGIN_MS;
  if (access && !refresh && !ending) return access;
  minting ??= mint().finally(() => { minting = null; });
  access = await minting;
  return access;
}

async function mint() {
  const response = await fetch('/demo/token', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ user_id: store.get('user') ?? undefined }),
  });
  if (!response.ok) throw new Error(`No demo token: HTTP ${response.status}`);
  const minted = await response.json();
  store.set('user', minted.user_id);
  view.showUser(minted.user_id);
  return minted;
}

/** The providers are a choice; without their list the page works with the default. */
async function loadProviders() {
  const response = await fetch('/demo/providers');
  if (!response.ok) throw new Error(`No providers: HTTP ${response.status}`);
  providers = (await response.json()).data;
  offerProviders(store.get('provider'));
  view.showProviderNames(new Map(providers.map((provider) => [provider.id, provider.name])));
  showStoredPayments();
}

/** Offers the providers that take the chosen currency; one that was chosen before stays, if it is among them. */
function offerProviders(chosen) {
  const currency = document.getElementById('currency').value;
  view.offerProviders(providers.filter((provider) => provider.currencies.includes(currency)), chosen);
}

/** Stores a payment unless a newer version of it is stored. */
function accept(payment) {
  const known = payments.get(payment.id);
  if (known && known.version >= payment.version) return;
  payments.set(payment.id, payment);
  showStoredPayments();
  if (payment.id === shown) showJourney(payment.id);
}

function showJourney(id) {
  view.showJourney(payments.get(id), returned(id), storedDisputes()[id], cancel);
}

function showStoredPayments() {
  const newestFirst = [...payments.values()].sort((one, other) => other.created_at.localeCompare(one.created_at));
  view.showPayments(newestFirst.slice(0, SHOWN_PAYMENTS), cancel);
}

async function loadPayments() {
  const page = await sluice.payments({ ...api, limit: SHOWN_PAYMENTS });
  page.data.forEach(accept);
  if (shown) accept(await sluice.getPayment(shown, api));
}

async function loadWallets() {
  const { user_id: userId } = await getToken({ refresh: false });
  const { data } = await sluice.wallets(userId, api);
  view.showWallets(data);
  const pages = await Promise.all(data.map(async ({ currency }) => {
    const page = await sluice.walletTransactions(userId, { ...api, currency, limit: SHOWN_ENTRIES });
    return page.data.map((entry) => ({ entry, currency }));
  }));
  const newestFirst = pages.flat().sort((one, other) => other.entry.at.localeCompare(one.entry.at));
  view.showEntries(newestFirst.slice(0, SHOWN_ENTRIES));
}

async function load() {
  try {
    await Promise.all([loadPayments(), loadWallets()]);
    view.showTrouble('');
  } catch (error) {
    view.showTrouble(error.status === 404 ? 'This payment belongs to another demo user.' : failureText(error));
  }
}

function loadWalletsSoon() {
  clearTimeout(walletTimer);
  walletTimer = setTimeout(() => loadWallets().catch((error) => view.showTrouble(failureText(error))), WALLET_DELAY_MS);
}

const storedFeed = () => JSON.parse(store.get('feed') ?? '[]');
// A payment does not say how its dispute ended; the messages do.
const storedDisputes = () => JSON.parse(store.get('disputes') ?? '{}');

function onMessage(message) {
  const feed = [message, ...storedFeed()].slice(0, FEED_LINES);
  store.set('feed', JSON.stringify(feed));
  if (message.dispute) {
    store.set('disputes', JSON.stringify({ ...storedDisputes(), [message.payment.id]: message.dispute }));
  }
  view.showFeed(feed);
  accept(message.payment);
  // The payment may have been read before the message came.
  if (message.dispute && message.payment.id === shown) showJourney(shown);
  loadWalletsSoon();
}

/** How the browser came back from this payment's page; it words the waiting and nothing else. */
const returned = (id) => (id === arrived ? arrival.get('returned') : null);

const isLive = () => link.state === 'live' || link.state === 'fallback';

function onState(state) {
  const before = isLive();
  link.state = state;
  view.showLink(state);
  // Loading after the greeting leaves no gap: whatever happens from here on comes as a message.
  if (isLive() && !before) load();
  ask();
}

/** Whether the shown payment may change without a message: not connected, or a payer who is back may have committed. */
function mayChangeUnseen() {
  const payment = payments.get(shown);
  if (payment && hasEnded(payment)) return false;
  return !isLive() || (returned(shown) === 'success' && !payment?.committed_until);
}

/** Polls the shown payment while it may change without a message; with a connection less and less often. */
async function ask() {
  if (asking || !shown) return;
  asking = true;
  let pause = ASK_PAUSE_MS;
  while (mayChangeUnseen()) {
    await new Promise((resolve) => { setTimeout(resolve, pause); });
    if (!mayChangeUnseen()) break;
    pause = isLive() ? Math.min(2 * pause, ASK_PAUSE_MAX_MS) : ASK_PAUSE_MS;
    try {
      accept(await sluice.getPayment(shown, isLive() ? api : { ...api, wait: 10, until: 'ended' }));
      loadWalletsSoon();
    } catch (error) {
      view.showTrouble(failureText(error));
      if (error.status === 404) break;
    }
  }
  asking = false;
}

async function cancel(id, button) {
  button.setAttribute('aria-disabled', 'true');
  try {
    accept(await sluice.cancelPayment(id, api));
  } catch (error) {
    // 409 says that it ended in the meantime: what it became is worth more than the refusal.
    if (error.status !== 409) view.showTrouble(failureText(error));
    button.setAttribute('aria-disabled', 'false');
    await load();
  }
  loadWalletsSoon();
}

/** The key stays the same until this deposit was answered, so that a second click after a lost answer pays once. */
function keyFor(...asked) {
  if (attempt?.asked.join() !== asked.join()) attempt = { asked, key: sluice.randomUuid() };
  return attempt.key;
}

/** What a provider needs to know of the payer, and no more; without one that needs anything, nothing. */
function customerFor(provider, userId) {
  return provider?.needs.includes('customer.email') ? { email: `${userId}@example.com` } : undefined;
}

async function submit(event) {
  event.preventDefault();
  if (busy) return;
  busy = true;
  const form = new FormData(event.target);
  const amount = form.get('amount').trim();
  const currency = form.get('currency');
  const provider = providers.find(({ id }) => id === form.get('provider'));
  // The default is not named: a route of the tenant may lead elsewhere.
  const providerId = provider?.is_default ? undefined : provider?.id;
  store.set('provider', provider?.id ?? '');
  store.set('currency', currency);
  view.showFormErrors([]);
  view.showBusy(true);
  view.announce('Opening the pay page…');
  stopping = new AbortController();
  const patience = setTimeout(() => view.showWait('This takes longer than usual. Nothing is charged before you pay.'), PATIENCE_MS);
  try {
    const { user_id: userId } = await getToken({ refresh: false });
    const back = (returned) => `${location.origin}/demo?returned=${returned}`;
    const payment = await sluice.deposit({
      ...api, amount, currency, userId, providerId, customer: customerFor(provider, userId),
      idempotencyKey: keyFor(amount, currency, providerId),
      successUrl: back('success'), failureUrl: back('failure'), metadata: { source: 'demo' },
      waitSeconds: FIRST_WAIT_SECONDS, onPending: showPending, signal: stopping.signal,
    });
    attempt = null;
    leaveFor(payment);
  } catch (error) {
    if (error.status) attempt = null;
    // Given up by the person: what was made of it stands among the payments.
    const isGivenUp = stopping.signal.aborted;
    view.showFormErrors(error.errors ?? [], error.errors?.length || isGivenUp ? null : failureText(error));
    view.announce('');
    stay();
    if (isGivenUp) load();
  } finally {
    clearTimeout(patience);
  }
}

/** The payment is made and the provider has not answered yet: it is shown, and can be cancelled. */
function showPending(payment) {
  shown = payment.id;
  store.set('opened', payment.id);
  accept(payment);
  showJourney(payment.id);
}

function leaveFor(payment) {
  shown = payment.id;
  store.set('opened', payment.id);
  accept(payment);
  const address = hasEnded(payment) ? null : view.payPage(payment);
  if (address) {
    location.assign(address);
    return;
  }
  // A message may have brought this payment in before it was the shown one.
  showJourney(payment.id);
  view.focusJourney();
  stay();
}

function stay() {
  busy = false;
  view.showBusy(false);
}

function start() {
  document.getElementById('form').addEventListener('submit', submit);
  const currency = document.getElementById('currency');
  currency.addEventListener('change', () => offerProviders(document.getElementById('provider').value));
  if (store.get('currency')) currency.value = store.get('currency');
  loadProviders().catch((error) => console.warn(error));
  document.getElementById('new-user').addEventListener('click', () => {
    sessionStorage.clear();
    location.assign('/demo');
  });
  document.getElementById('stop').addEventListener('click', () => stopping.abort());
  // The browser's Back button may bring the page back as it was left, with the button still busy.
  window.addEventListener('pageshow', (event) => { if (event.persisted) stay(); });
  const feed = storedFeed();
  view.showFeed(feed);
  // What happened while the pay page was open follows after the last message that was seen here; a visitor who saw none
  // starts at the beginning, since the browser often leaves for the pay page before the first message came.
  sluice.watch({
    ...api, after: feed[0]?.id ?? 0, onMessage, onState, onReset: load,
    onError: (error) => { if (!access) view.showTrouble(failureText(error)); },
  });
  if (shown) load().then(() => { if (payments.has(shown)) view.focusJourney(); });
}

start();
