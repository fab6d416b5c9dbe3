/** Fields that are not listed are the relay's, as its API reference has them. */
export interface Job {
  job_id: string;
  workspace: string;
  /** Whether nothing more will come: wait on while it is false, whatever the status is. */
  ended: boolean;
  state: "active" | "settled" | "not_found" | "expired" | "withdrawn";
  /** Exec's job as last polled. */
  job: {
    id: string;
    status: string;
    scenario?: { id?: string; name?: string; url?: string } | null;
    error?: { code?: string; message?: string } | null;
    [field: string]: unknown;
  } | null;
  [field: string]: unknown;
}

export interface Registration {
  id: string;
  job_id: string;
  workspace: string;
  [field: string]: unknown;
}

export interface CreatedJob {
  job: { id: string; status: string; [field: string]: unknown };
  request_id: string;
  registration: Registration;
}

export interface RelayEvent {
  /** The same by whichever way it comes: what to deduplicate by. */
  id: string;
  type: string;
  job_id: string;
  workspace: string;
  occurred_at: string;
  created_at: string;
  body: Record<string, unknown>;
  /** Goes on after this event. */
  cursor: string;
  /** With `endpoint`: what `verify` takes. */
  signed?: { headers: Record<string, string>; body: string };
}

export interface Call {
  /** Ends the call, with Closed. */
  signal?: AbortSignal;
}

export interface RegisterFields extends Call {
  callback_url?: string;
  endpoint?: string;
  metadata?: Record<string, unknown>;
  workspace?: string;
  /** The same key registers or creates once, in later runs too. */
  idempotencyKey?: string;
  [field: string]: unknown;
}

export interface CreateFields extends RegisterFields {
  user_email: string;
  prompt: string;
}

export interface RelayOptions {
  /** RELAY_URL, or http://127.0.0.1:8080, by default. */
  url?: string;
  /** RELAY_API_KEY by default; in Node without one the token of a relay on this machine that has no API keys. */
  key?: string;
  /** Seconds of one waiting request, 25 by default. */
  slice?: number;
  /** Milliseconds for which a call is repeated while no relay answers, 60,000 by default. */
  retryFor?: number;
  fetch?: typeof fetch;
}

export class Relay {
  constructor(options?: RelayOptions);
  close(): void;
  create(fields: CreateFields): Promise<CreatedJob>;
  register(jobId: string, fields?: RegisterFields): Promise<Registration>;
  job(jobId: string, options?: Call & { workspace?: string }): Promise<Job>;
  wait(
    jobId: string,
    options?: Call & { timeout?: number; workspace?: string; onUpdate?: (job: Job) => void },
  ): Promise<Job>;
  events(
    options?: Call & { after?: string; types?: string[]; jobId?: string; workspace?: string; endpoint?: string },
  ): AsyncGenerator<RelayEvent, void, void>;
}

export function verify(
  headers: Headers | Record<string, string>,
  body: string | Uint8Array | ArrayBuffer,
  secrets: string | string[],
  options?: { tolerance?: number | null; receivedAt?: number },
): Promise<Record<string, unknown>>;

export class RelayError extends Error {}
export class ApiError extends RelayError {
  status: number;
  code: string;
  field?: string;
}
export class CursorGone extends ApiError {
  oldestCursor: string;
  newestCursor: string;
}
export class Unreachable extends RelayError {}
export class WaitTimeout extends RelayError {
  job?: Job;
}
export class Closed extends RelayError {}
export class Unverified extends RelayError {}
