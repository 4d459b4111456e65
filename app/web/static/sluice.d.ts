/** The credential of one user's browser: the answer of POST /api/client-tokens, or its token only. */
export interface ClientToken {
  token: string;
  /** RFC 3339; the module asks for a new token shortly before. */
  expires_at?: string;
  /** Base URL of the sockets; default: `baseUrl`. */
  sockets_url?: string;
}

export interface Connection {
  /** Where Sluice answers, without a path; default: the page's own origin. */
  baseUrl?: string;
  /**
   * Gives a client token within 30 seconds. `refresh` is true when the last one is no longer good: a cached one must not be given
   * again. A token given as text costs one request more, which asks where the sockets are.
   */
  getToken(hint: { refresh: boolean }): Promise<ClientToken | string> | ClientToken | string;
  signal?: AbortSignal;
}

export type PaymentStatus = 'pending' | 'processing' | 'completed' | 'failed' | 'cancelled';
export type PaymentException = 'currency_mismatch' | 'underpaid' | 'overpaid' | 'conflict' | 'disputed' | 'reversed' | 'late';

/** Amounts are decimal strings with exactly the currency's digits; `_minor` twins are integers in minor units. */
export interface Payment {
  id: string;
  version: number;
  user_id: string;
  amount: string;
  amount_minor: number;
  currency: string;
  status: PaymentStatus;
  exception: PaymentException | null;
  provider_id: string;
  provider_reference: string | null;
  redirect_url: string | null;
  /** What the payer has to do next; null where there is nothing to do, or not yet. */
  next_action: { type: 'redirect'; url: string } | { type: 'prompt'; message: string } | null;
  failure_reason: string | null;
  /** Set where a pending payment does not proceed before an operator acts. */
  pending_reason: "provider_configuration" | "provider_unavailable" | null;
  metadata: Record<string, string>;
  created_at: string;
  updated_at: string;
  expires_at: string;
  completed_at: string | null;
  received_amount: string | null;
  received_currency: string | null;
  reversed_amount_minor: number;
  /** Set where the payer has committed to a method that settles days later: the payment does not expire before. */
  committed_until: string | null;
  /** Why the last attempt to pay was declined; the payer may try again. */
  last_attempt_error: string | null;
}

export interface Wallet {
  currency: string;
  balance: string;
  balance_minor: number;
  /** Sum of the user's open payments. */
  pending: string;
  pending_minor: number;
  held: string;
  held_minor: number;
  available: string;
  available_minor: number;
  version: number;
}

export interface Entry {
  id: string | number;
  amount: string;
  amount_minor: number;
  balance_before: string;
  balance_before_minor: number;
  balance_after: string;
  balance_after_minor: number;
  type: 'deposit' | 'reversal' | 'reinstatement' | 'refund' | 'debit' | 'debit_reversal';
  /** The payment, or the debit. */
  reference_id: string;
  /** The shop's own name of a debit, such as an order. */
  reference: string | null;
  description: string;
  at: string;
}

export interface Page<Item> {
  data: Item[];
  next_cursor: string | null;
}

export type MessageType =
  | 'payment.redirect_ready'
  | 'payment.completed'
  | 'payment.failed'
  | 'payment.cancelled'
  | 'payment.review'
  | 'payment.reversed'
  | 'payment.reinstated'
  | 'payment.disputed'
  | 'refund.completed'
  | 'refund.failed';

/** A payer's dispute at the provider; `reason` is in the provider's words. */
export interface Dispute {
  id: string;
  status: 'opened' | 'won' | 'lost';
  reason: string | null;
  evidence_due_at: string | null;
  opened_at: string;
  closed_at: string | null;
}

/** `id` rises in the order in which messages can be seen. */
export interface Message {
  id: number;
  type: MessageType;
  payment: Payment;
  at: string;
  /** With `payment.disputed` alone. */
  dispute?: Dispute;
}

export interface Hello {
  type: 'hello';
  resumed: boolean;
  last_id: number;
}

export interface FieldError {
  field: string;
  message: string;
}

/** RFC 9457 problem document. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  /** A stable word for programs; the reference lists all. */
  code?: string;
  request_id?: string;
  errors?: FieldError[];
}

export class SluiceError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  readonly problem: Problem;
  readonly errors: FieldError[];
  readonly code: string | undefined;
  /** Name it when you report the failure. */
  readonly requestId: string | undefined;
  /** The pause that the server asked for; undefined without one. */
  readonly retryAfterMs: number | undefined;
}

export interface Customer {
  email?: string;
  name?: string;
  /** E.164. */
  phone?: string;
  /** ISO 3166-1 alpha-2. */
  country?: string;
  /** BCP 47. */
  locale?: string;
}

export interface DepositOptions extends Connection {
  /** Decimal string, for example "25.00". */
  amount: string;
  /** ISO 4217, upper case. */
  currency: string;
  userId?: string;
  providerId?: string;
  successUrl?: string;
  failureUrl?: string;
  metadata?: Record<string, string>;
  /** The payer, as far as the provider is to know; kept encrypted. */
  customer?: Customer;
  /** What the payer reads at the provider. */
  description?: string;
  /** Default: a new random UUID. Give your own to make the same deposit again after a reload. */
  idempotencyKey?: string;
  /** Gets the payment as soon as it is made, where the provider has not answered by then: show it, offer to cancel. */
  onPending?(payment: Payment): void;
  /** How long the server may hold the first answer back; default and limit: 10. */
  waitSeconds?: number;
}

export interface WaitOptions extends Connection {
  /** Seconds the server may hold the answer back, at most 10. */
  wait?: number;
  /** Answer when the payment's version differs from this one. */
  version?: number;
  /** Answer only when the payment ended. */
  until?: 'ended';
}

export interface PageOptions extends Connection {
  limit?: number;
  cursor?: string;
}

/** `fallback` is live too, over an event stream in place of the socket. */
export type WatchState = 'connecting' | 'live' | 'fallback' | 'reconnecting' | 'closed';

export interface WatchOptions extends Omit<Connection, 'signal'> {
  /** The last message id that was seen; 0 is the start; left out, watching begins now. */
  after?: number | null;
  /** Every message once, in the order of its id. */
  onMessage(message: Message): void;
  /** The server no longer holds everything after the last id: load the state anew. */
  onReset?(hello: Hello): void;
  onState?(state: WatchState): void;
  /** An error while connecting; watching continues. Default: a console warning. */
  onError?(error: unknown): void;
  /** Pause between tries to get from the stream back to the socket; default: 60000. */
  socketProbeMs?: number;
}

export interface Watch {
  close(): void;
  /** Give it to the next `watch({ after })`; null before the first greeting. */
  readonly lastId: number | null;
}

export const MESSAGE_TYPES: readonly MessageType[];

/** A random UUID for an idempotency key that outlives a reload; also on pages without TLS. */
export function randomUuid(): string;
export function deposit(options: DepositOptions): Promise<Payment>;
export function getPayment(id: string, options: WaitOptions): Promise<Payment>;
export function payments(options: PageOptions & { userId?: string; status?: PaymentStatus }): Promise<Page<Payment>>;
export function cancelPayment(id: string, options: Connection): Promise<Payment>;
export function wallets(userId: string, options: Connection): Promise<{ data: Wallet[] }>;
export function walletTransactions(userId: string, options: PageOptions & { currency?: string }): Promise<Page<Entry>>;
export function events(options: Connection & { after?: number; limit?: number }): Promise<Page<Message>>;
export function watch(options: WatchOptions): Watch;
