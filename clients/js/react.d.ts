import type { Connection, Payment, WatchState } from './sluice.js';

export interface PaymentView {
  payment: Payment | null;
  /** `live` and `fallback`: changes are shown as they happen. */
  link: WatchState;
  error: unknown;
}

export function usePayment(
  id: string | null | undefined,
  options: Pick<Connection, 'baseUrl' | 'getToken'>,
): PaymentView;
