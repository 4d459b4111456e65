import { disputeJourney } from './disputes.js';
import { chip, clock, entryText, errorText, eventText, hasEnded, journey, linkText, money, signed } from './words.js';

const byId = (id) => document.getElementById(id);

// More characters do not fit next to another balance on a phone, nor next to two on a desktop.
const LONG_CHARACTERS = 8;

/** Makes an element; everything that came from outside goes in as text, never as markup. */
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  const { data, ...own } = properties;
  Object.assign(node, own);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

/** Replaces a list's lines; the focus stays on the same control, or goes to the heading when that is gone. */
function replaceLines(list, lines, heading) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  list.replaceChildren(...lines);
  if (focused) (list.querySelector(`[data-key="${CSS.escape(focused)}"]`) ?? heading).focus();
}

function actionsFor(payment, onCancel, region) {
  if (hasEnded(payment)) return [];
  const amount = money(payment.amount, payment.currency);
  const actions = [];
  const address = payPage(payment);
  if (address) {
    const link = make('a', { className: 'button strong', href: address, textContent: 'Open pay page' });
    link.dataset.key = `${region}-pay-${payment.id}`;
    link.setAttribute('aria-label', `Open pay page for ${amount}`);
    actions.push(link);
  }
  // The journey has it as its text.
  if (payment.next_action?.type === 'prompt' && region === 'list') {
    actions.push(make('span', { className: 'prompt', textContent: payment.next_action.message }));
  }
  const cancel = make('button', { type: 'button', textContent: 'Cancel' });
  cancel.dataset.key = `${region}-cancel-${payment.id}`;
  cancel.setAttribute('aria-label', `Cancel ${amount}`);
  cancel.addEventListener('click', () => onCancel(payment.id, cancel));
  actions.push(cancel);
  return actions;
}

/** The pay page's address; null for anything that is not a web page. */
export function payPage(payment) {
  if (!payment.redirect_url) return null;
  const url = new URL(payment.redirect_url, location.href);
  return /^https?:$/.test(url.protocol) ? url.href : null;
}

let providerNames = new Map();

/** By the id of a provider, the name that is shown with payments. */
export function showProviderNames(names) {
  providerNames = names;
}

/** Offers these providers, the first of them unless the `chosen` one is among them; one alone is no choice. */
export function offerProviders(offered, chosen) {
  const options = offered.map(({ id, name }) => make('option', { value: id, textContent: name }));
  byId('provider').replaceChildren(...options);
  if (offered.some(({ id }) => id === chosen)) byId('provider').value = chosen;
  byId('provider-field').hidden = offered.length < 2;
}

export function showUser(userId) {
  byId('user').textContent = userId;
}

export function showLink(state) {
  byId('link').dataset.state = state;
  byId('link-text').textContent = linkText(state);
}

export function showTrouble(text) {
  byId('trouble').textContent = text;
  byId('trouble').hidden = !text;
}

/** Announces a text to screen readers, once if it is repeated. */
export function announce(text) {
  if (byId('announce').textContent !== text) byId('announce').textContent = text;
}

export function showJourney(payment, returned, dispute, onCancel) {
  const way = disputeJourney(payment, dispute) ?? journey(payment, returned);
  byId('journey').hidden = false;
  byId('journey-amount').textContent = `Deposit of ${money(payment.amount, payment.currency)}`;
  byId('journey-title').textContent = way.title;
  byId('journey-detail').textContent = way.detail;
  byId('locks').dataset.level = way.level;
  byId('locks').dataset.tone = way.tone;
  [...byId('locks').children].forEach((lock, index) => {
    lock.classList.toggle('here', index === way.here);
    if (index === way.here) lock.setAttribute('aria-current', 'step');
    else lock.removeAttribute('aria-current');
  });
  replaceLines(byId('journey-actions'), actionsFor(payment, onCancel, 'journey'), byId('journey-title'));
  byId('payment-id').textContent = `Payment ${payment.id}`;
  document.title = `${way.title} – Sluice demo`;
  announce(`${way.title}. ${way.detail}`);
}

export function focusJourney() {
  byId('journey-title').focus();
}

export function showPayments(payments, onCancel) {
  const lines = payments.map((payment) => {
    const [label, tone] = chip(payment);
    const by = providerNames.get(payment.provider_id);
    const actions = actionsFor(payment, onCancel, 'list');
    return make('li', {},
      make('span', { className: 'what amount', textContent: money(payment.amount, payment.currency) }),
      make('span', { className: 'chip', data: { tone }, textContent: label }),
      ...(by ? [make('span', { className: 'by', textContent: by })] : []),
      make('time', { className: 'when', dateTime: payment.created_at, textContent: clock(payment.created_at) }),
      ...(actions.length ? [make('div', { className: 'actions' }, ...actions)] : []));
  });
  replaceLines(byId('payments'), lines, byId('payments-title'));
  byId('payments-empty').hidden = lines.length > 0;
}

export function showWallets(wallets) {
  byId('balances').replaceChildren(...wallets.map((wallet) => {
    const balance = money(wallet.balance, '').trim();
    const pending = wallet.pending_minor > 0 ? money(wallet.pending, '').trim() : '';
    const isLong = Math.max(balance.length, pending.length) > LONG_CHARACTERS;
    return make('li', { className: isLong ? 'long' : '' },
      make('span', { className: 'balance-currency', textContent: wallet.currency }),
      make('strong', { className: `balance amount${isLong ? ' long-figure' : ''}`, textContent: balance }),
      make('span', { className: 'balance-pending' },
        ...(pending ? [make('span', { className: 'amount', textContent: pending }), ' pending'] : [])));
  }));
  byId('balances-empty').hidden = wallets.length > 0;
}

export function showEntries(entries) {
  byId('entries').replaceChildren(...entries.map(({ entry, currency }) => row(
    make('td', { className: 'at' }, make('time', { dateTime: entry.at, textContent: clock(entry.at) })),
    make('td', { className: 'kind', textContent: entryText(entry) }),
    make('td', { className: 'number amount change', textContent: signed(entry) }),
    make('td', { className: 'number amount after', textContent: money(entry.balance_after, currency) }))));
  byId('entries-box').hidden = entries.length === 0;
  byId('entries-empty').hidden = entries.length > 0;
}

/** A table's row with explicit roles, since a narrow page is not laid out as a table. */
function row(...cells) {
  const line = make('tr', {}, ...cells);
  line.setAttribute('role', 'row');
  cells.forEach((cell) => cell.setAttribute('role', 'cell'));
  return line;
}

export function showFeed(messages) {
  byId('feed').replaceChildren(...messages.map((message) => make('li', {},
    make('span', { className: 'what', textContent: eventText(message) }),
    make('span', { className: 'amount', textContent: money(message.payment.amount, message.payment.currency) }),
    make('span', { className: 'number', textContent: `#${message.id}` }),
    make('time', { className: 'when', dateTime: message.at, textContent: clock(message.at) }))));
  byId('feed-empty').hidden = messages.length > 0;
}

/** Shows what is wrong with the form and puts the focus on the first wrong field; no errors clears it. */
export function showFormErrors(errors, general) {
  const rest = general ? [general] : [];
  let first = null;
  for (const name of ['amount', 'currency']) {
    const own = errors.filter((error) => error.field === name).map((error) => errorText(error, byId('currency').value));
    byId(`${name}-error`).textContent = own.join(' ');
    byId(`${name}-error`).hidden = own.length === 0;
    byId(name).setAttribute('aria-invalid', String(own.length > 0));
    if (own.length > 0) first ??= byId(name);
  }
  for (const error of errors) {
    if (!['amount', 'currency'].includes(error.field)) rest.push(errorText(error));
  }
  byId('form-error').textContent = rest.join(' ');
  byId('form-error').hidden = rest.length === 0;
  first?.focus();
}

/** While busy the button keeps the focus and says so; it is not disabled, which would throw the focus away. */
export function showBusy(busy) {
  byId('submit').setAttribute('aria-disabled', String(busy));
  byId('submit').textContent = busy ? 'Opening the pay page…' : 'Deposit';
  if (!busy) showWait('');
}

/** Says that it takes long, with a way out; no text hides both. */
export function showWait(text) {
  byId('wait-text').textContent = text;
  byId('wait').hidden = !text;
}
