/** The texts of the page about payments: pure functions. */

const ENDED = new Set(['completed', 'failed', 'cancelled']);
const CHIPS = {
  pending: ['Opening', 'wait'],
  processing: ['Waiting for payment', 'wait'],
  completed: ['Completed', 'good'],
  failed: ['Failed', 'bad'],
  cancelled: ['Cancelled', 'bad'],
};
const REVIEWS = {
  currency_mismatch: 'The money came in another currency.',
  underpaid: 'Less money came than was asked for.',
  overpaid: 'More money came than was asked for.',
  conflict: 'The provider sent two different outcomes.',
  disputed: 'The payment is disputed at the provider.',
};
const ENTRIES = {
  deposit: 'Deposit', reversal: 'Reversal', reinstatement: 'Reinstatement', refund: 'Refund', debit: 'Debit',
  debit_reversal: 'Debit given back',
};
const EVENTS = {
  'payment.redirect_ready': 'Pay page ready',
  'payment.completed': 'Payment completed',
  'payment.failed': 'Payment failed',
  'payment.cancelled': 'Payment cancelled',
  'payment.review': 'Payment needs a review',
  'payment.reversed': 'Payment reversed',
  'payment.reinstated': 'Reversed money came again',
  'payment.disputed': 'Payment disputed',
  'refund.completed': 'Refund completed',
  'refund.failed': 'Refund failed',
};
// Refunds that the shop's policy makes; the reason of any other is the shop's own.
const REFUNDS = {
  late: {
    'refund.completed': 'Your late money went back to you',
    'refund.failed': 'Your late money could not go back yet',
  },
  overpaid: {
    'refund.completed': 'What you paid too much went back to you',
    'refund.failed': 'What you paid too much could not go back yet',
  },
};
const LINKS = {
  connecting: 'Connecting',
  live: 'Live',
  fallback: 'Live, fallback stream',
  reconnecting: 'Reconnecting',
  closed: 'Disconnected',
};

export function hasEnded(payment) {
  return ENDED.has(payment.status);
}

/** "1234.50" and "USD" to "1,234.50 USD"; digits stay as the server sent them, so nothing is rounded on the way. */
export function money(amount, currency) {
  const [whole, fraction] = String(amount).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  return `${grouped}${fraction === undefined ? '' : `.${fraction}`} ${currency}`;
}

export function signed(entry) {
  const sign = String(entry.amount).startsWith('-') || entry.type === 'reversal' ? '−' : '+';
  return sign + money(String(entry.amount).replace(/^-/, ''), '').trim();
}

export function entryText(entry) {
  return ENTRIES[entry.type] ?? 'Deposit';
}

/** The error of a field in words for a user; the API words its errors for programmers. */
export function errorText(error, currency) {
  if (error.field === 'amount') return amountText(error.message, currency);
  if (error.field === 'currency') return 'This currency cannot be paid in here.';
  return 'The deposit was not accepted. Please check what you entered.';
}

function amountText(message, currency) {
  const decimals = /more than the (\d+) decimals/.exec(message)?.[1];
  if (decimals === '0') return `Amounts in ${currency} have no decimals, for example 25.`;
  if (decimals) return `Amounts in ${currency} have at most ${decimals} decimals.`;
  const limit = /at (most|least) ([\d.]+)/.exec(message);
  if (limit) return `Enter ${limit[1] === 'most' ? 'at most' : 'at least'} ${money(limit[2], currency)}.`;
  if (/greater than zero/.test(message)) return 'Enter an amount above zero.';
  return 'Enter the amount in digits, for example 25.00.';
}

/** The error of a request in words for a user. */
export function failureText(error) {
  if (error.status === 0) return 'The server cannot be reached at the moment. Nothing was charged; please try again.';
  if (error.status === 429 || error.status >= 500) return 'The service is busy at the moment. Please try again shortly.';
  if (error.status === 401 || error.status === 403) return 'This page has expired. Please reload it.';
  return 'That did not work. Please reload the page and try again.';
}

export function clock(time) {
  const date = new Date(time);
  const today = date.toDateString() === new Date().toDateString();
  const options = today ? { timeStyle: 'short' } : { dateStyle: 'short', timeStyle: 'short' };
  return new Intl.DateTimeFormat(undefined, options).format(date);
}

export function chip(payment) {
  if (payment.exception === 'reversed') return ['Reversed', 'bad'];
  if (payment.exception in REVIEWS) return ['Under review', 'wait'];
  if (payment.committed_until && !hasEnded(payment)) return ['Waiting for the bank', 'wait'];
  return CHIPS[payment.status] ?? [payment.status, 'wait'];
}

const DISPUTES = { opened: 'Payment disputed', won: 'Dispute won', lost: 'Dispute lost' };

export function eventText(message) {
  const why = message.refund && REFUNDS[message.refund.reason];
  if (why && message.type in why) return why[message.type];
  if (message.dispute) return DISPUTES[message.dispute.status] ?? EVENTS[message.type];
  return EVENTS[message.type] ?? message.type;
}

export function linkText(state) {
  return LINKS[state] ?? state;
}

/** How far a payment came: `{level, here, tone, title, detail}`; `here` is the index of the chamber it stands in. */
export function journey(payment, returned) {
  if (payment.exception === 'reversed') {
    const title = `${money(payment.amount, payment.currency)} was paid back`;
    return { level: 2, here: 2, tone: 'ended', title, detail: 'The provider reversed this payment.' };
  }
  if (payment.exception in REVIEWS) return underReview(payment);
  if (payment.status === 'completed') return completed(payment);
  if (payment.exception === 'late' && payment.received_amount) {
    const title = `${money(payment.received_amount, payment.received_currency)} came too late`;
    const detail = 'It was not credited: it goes back to you, unless a person decides otherwise.';
    return { level: 2, here: 1, tone: 'review', title, detail };
  }
  if (payment.status === 'failed') {
    const detail = reason(payment, 'Nothing was credited.');
    return { level: 1, here: 1, tone: 'ended', title: 'The payment did not go through', detail };
  }
  if (payment.status === 'cancelled') {
    const title = payment.failure_reason === 'expired' ? 'Nobody paid in time' : 'The payment was cancelled';
    return { level: 1, here: 1, tone: 'ended', title, detail: 'Nothing was credited.' };
  }
  return stillOpen(payment, returned);
}

function completed(payment) {
  const credited = money(payment.received_amount ?? payment.amount, payment.received_currency ?? payment.currency);
  const late = payment.exception === 'late';
  const detail = late ? 'The money came late and was credited all the same.' : 'Paid, confirmed and credited once.';
  return { level: 3, here: 2, tone: 'done', title: `${credited} is in your wallet`, detail };
}

function stillOpen(payment, returned) {
  if (payment.status === 'pending') {
    const title = 'Asking the provider…';
    const detail = 'The pay page opens as soon as the provider answers. You can wait here, or cancel.';
    return { level: 1, here: 0, tone: 'open', title, detail };
  }
  const at = { level: 2, here: 1, tone: 'open' };
  if (payment.next_action?.type === 'prompt') {
    return { ...at, title: 'Confirm on your device', detail: payment.next_action.message };
  }
  if (payment.committed_until) {
    const detail = `You have paid by a slow method. The money comes by ${clock(payment.committed_until)}.`;
    return { ...at, title: 'Waiting for your bank', detail };
  }
  if (returned === 'success') {
    const detail = 'You are back; the provider’s own word counts. This changes by itself.';
    return { ...at, title: 'Confirming your payment…', detail };
  }
  if (payment.last_attempt_error) {
    const detail = `Reason given: ${payment.last_attempt_error.replace(/\.$/, '')}. You can try again or cancel.`;
    return { ...at, title: 'Your last attempt to pay was declined', detail };
  }
  const detail = returned
    ? 'You came back without a confirmed payment. You can pay again or cancel.'
    : 'The pay page is open until you pay or cancel.';
  return { ...at, title: 'Waiting for your payment', detail };
}

function underReview(payment) {
  const credited = payment.status === 'completed';
  if (credited && payment.exception === 'overpaid') {
    const detail = `${REVIEWS.overpaid} The rest is credited, goes back to you, or is reviewed by a person.`;
    return { level: 3, here: 2, tone: 'review', title: 'More money came than was asked for', detail };
  }
  const detail = credited
    ? 'Your money is in the wallet; a person reviews the rest.'
    : 'Your money is not lost: a person reviews it.';
  const [level, here] = credited ? [3, 2] : [2, 1];
  const title = 'Your payment is under review';
  return { level, here, tone: 'review', title, detail: `${REVIEWS[payment.exception]} ${detail}` };
}

function reason(payment, otherwise) {
  if (!payment.failure_reason) return otherwise;
  // A code of ours (expired) or the provider's own sentence, which has its full stop already.
  return `Reason given: ${payment.failure_reason.replaceAll('_', ' ').replace(/\.$/, '')}. ${otherwise}`;
}
