/** One payment as a user interface shows it: read once, then live. Made for useSyncExternalStore, without React. */
import { getPayment, watch } from './sluice.js';

const EMPTY = Object.freeze({ payment: null, link: 'connecting', error: null });

/** Returns a store of one payment; it is connected as long as somebody subscribes. `options`: those of a connection. */
export function paymentStore(id, options) {
  let snapshot = EMPTY;
  let watched = null;
  const listeners = new Set();

  function change(changes) {
    snapshot = Object.freeze({ ...snapshot, ...changes });
    listeners.forEach((listener) => listener());
  }

  function accept(payment) {
    if (payment.id !== id || snapshot.payment?.version >= payment.version) return;
    change({ payment, error: null });
  }

  async function read(round) {
    try {
      const payment = await getPayment(id, options);
      if (watched === round) accept(payment);
    } catch (error) {
      if (watched === round) change({ error });
    }
  }

  function start() {
    const round = {};
    watched = round;
    const isCurrent = () => watched === round;
    round.handle = watch({
      ...options,
      onMessage: (message) => { if (isCurrent()) accept(message.payment); },
      onReset: () => read(round),
      onState: (link) => {
        if (!isCurrent()) return;
        if (link !== snapshot.link) change({ link });
        // Reading after the greeting leaves no gap: what happens from here on comes as a message.
        if (link === 'live' || link === 'fallback') read(round);
      },
      onError: (error) => { if (isCurrent()) change({ error }); },
    });
  }

  return {
    subscribe(listener) {
      listeners.add(listener);
      if (!watched) start();
      return () => {
        listeners.delete(listener);
        if (listeners.size || !watched) return;
        const { handle } = watched;
        watched = null;
        handle.close();
        snapshot = EMPTY;
      };
    },
    getSnapshot: () => snapshot,
  };
}

export const emptySnapshot = () => EMPTY;
