/** What is said of a payment that was disputed: what happened, where its money is, and what comes next. */
import { money } from './words.js';

/** Minor units of the payment's currency in words; the digits are those that its amount has. */
function fromMinor(minor, payment) {
  const [, fraction = ''] = String(payment.received_amount ?? payment.amount).split('.');
  const digits = String(minor).padStart(fraction.length + 1, '0');
  const cut = digits.length - fraction.length;
  const amount = fraction ? `${digits.slice(0, cut)}.${digits.slice(cut)}` : digits;
  return money(amount, payment.received_currency ?? payment.currency);
}

/** Where the money is now. */
function whereabouts(payment) {
  const credited = money(payment.received_amount ?? payment.amount, payment.received_currency ?? payment.currency);
  const gone = payment.reversed_amount_minor;
  if (payment.status !== 'completed') return 'No money of it was credited.';
  if (!gone) return `The ${credited} are in your wallet.`;
  return `Of the ${credited}, ${fromMinor(gone, payment)} were taken out of your wallet again.`;
}

const STORIES = {
  opened: {
    tone: 'review',
    title: 'This payment is disputed',
    happened: 'The payer’s bank asks for the money back.',
    next: () => 'The provider decides; what it decides shows up here by itself.',
  },
  won: {
    tone: 'done',
    title: 'The dispute is over: the payment stands',
    happened: 'The payer’s bank had asked for the money back, and the provider turned it down.',
    next: (gone) => (gone ? 'It comes back by itself as soon as the provider returns it.' : 'Nothing is left to do.'),
  },
  lost: {
    tone: 'ended',
    title: 'The dispute is over: the payment was taken back',
    happened: 'The payer’s bank asked for the money back, and the provider agreed.',
    next: (gone) => (gone ? 'This is final.' : 'The provider takes it back; that shows up here by itself.'),
  },
};

/** How a disputed payment stands, in the form of `journey`; null where nothing is known of its dispute. */
export function disputeJourney(payment, dispute) {
  const story = STORIES[dispute?.status];
  if (!story) return null;
  const gone = payment.reversed_amount_minor > 0;
  const detail = `${story.happened} ${whereabouts(payment)} ${story.next(gone)}`;
  const [level, here] = payment.status === 'completed' && !gone ? [3, 2] : [2, 2];
  return { level, here, tone: story.tone, title: story.title, detail };
}
