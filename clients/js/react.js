/** React hooks of Sluice, for React 18 and newer. */
import { useMemo, useRef, useSyncExternalStore } from 'react';

import { emptySnapshot, paymentStore } from './payment_store.js';

const NOTHING = { subscribe: () => () => {}, getSnapshot: emptySnapshot };

/**
 * Returns `{payment, link, error}` of one payment, live; `payment` is null until it was read, and always without an id.
 * `getToken` may be another function at each render; another `baseUrl` or id connects anew.
 */
export function usePayment(id, { baseUrl, getToken }) {
  const latest = useRef(getToken);
  latest.current = getToken;
  const store = useMemo(
    () => (id ? paymentStore(id, { baseUrl, getToken: (hint) => latest.current(hint) }) : NOTHING),
    [id, baseUrl],
  );
  return useSyncExternalStore(store.subscribe, store.getSnapshot, emptySnapshot);
}
