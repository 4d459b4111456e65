import type {
  ClientToken, Customer, Entry, FieldError, Message, Page, Payment, PaymentStatus, Wallet,
} from './sluice.js';

export interface Refund {
  id: string;
  payment_id: string;
  amount: string;
  amount_minor: number;
  currency: string;
  status: 'pending' | 'processing' | 'completed' | 'failed';
  provider_reference: string | null;
  reason: string | null;
  failure_reason: string | null;
  metadata: Record<string, string>;
  created_at: string;
  updated_at: string;
}

/** What a shop's backend is sent, by stream and by webhook. */
export interface Event extends Message {
  /** With `refund.completed` and `refund.failed` alone. */
  refund?: Refund;
}

export interface Debit {
  id: string;
  user_id: string;
  amount: string;
  amount_minor: number;
  currency: string;
  reference: string;
  description: string | null;
  status: 'completed' | 'reversed';
  created_at: string;
  reversed_at: string | null;
  reversal_reason: string | null;
  entry: Entry;
  reversal_entry: Entry | null;
}

export class SluiceApiError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** A stable word; act by this one. */
  readonly code: string;
  /** Give it to the operator. */
  readonly requestId: string;
  readonly errors: FieldError[];
  readonly retryAfterMs: number | undefined;
}

export class WebhookVerificationError extends Error {}

export interface Deposit {
  user_id: string;
  /** Decimal string, for example "25.00". */
  amount: string;
  currency: string;
  provider_id?: string;
  success_url?: string;
  failure_url?: string;
  metadata?: Record<string, string>;
  customer?: Customer;
  description?: string;
  /** Default: a new random UUID. Give your own where your process may die before it has the answer. */
  idempotencyKey?: string;
  /** Seconds that the server may hold the answer back; default and limit: 10. */
  wait?: number;
}

export interface PageQuery {
  limit?: number;
  cursor?: string;
}

export class SluiceClient {
  constructor(options: { baseUrl: string; secretKey: string; retries?: number });
  createClientToken(userId: string): Promise<Required<ClientToken>>;
  createDeposit(deposit: Deposit): Promise<Payment>;
  getPayment(id: string, query?: { wait?: number; version?: number; until?: 'ended' }): Promise<Payment>;
  listPayments(
    query?: PageQuery & { user_id?: string; status?: PaymentStatus; created_after?: string; created_before?: string },
  ): Promise<Page<Payment>>;
  cancelPayment(id: string): Promise<Payment>;
  createRefund(
    paymentId: string,
    refund?: {
      amount?: string; reason?: string; metadata?: Record<string, string>; provider_reference?: string;
      idempotencyKey?: string;
    },
  ): Promise<Refund>;
  getRefund(id: string): Promise<Refund>;
  listRefunds(paymentId: string): Promise<{ data: Refund[] }>;
  listWallets(userId: string): Promise<{ data: Wallet[] }>;
  listEntries(userId: string, query?: PageQuery & { currency?: string }): Promise<Page<Entry>>;
  createDebit(
    userId: string,
    debit: { amount: string; currency: string; reference: string; description?: string; idempotencyKey?: string },
  ): Promise<Debit>;
  reverseDebit(id: string, body?: { reason?: string }): Promise<Debit>;
  listEvents(
    query?: { after?: number; limit?: number; cursor?: string; wait?: number },
    options?: { signal?: AbortSignal },
  ): Promise<Page<Event>>;
  streamEvents(options: { after: number; signal?: AbortSignal }): AsyncGenerator<Event, never, void>;
}

/** Throws WebhookVerificationError where the delivery is not proven to be Sluice's. */
export function verifyWebhook(
  body: string | Uint8Array,
  headers: Headers | Record<string, string | string[] | undefined>,
  secrets: string | readonly string[],
  options?: { toleranceSeconds?: number; now?: number },
): Event;
