/** The relay's client for Node 18 and later, and for browsers. No dependencies; the types are in relay.d.ts. */

const SLICE = 25; // seconds of one waiting request: proxies cut requests after 30 seconds and more
const ANSWER_WITHIN = 30_000; // milliseconds for an answer, in addition to its wait
const RETRY_FOR = 60_000; // milliseconds for which a call is repeated while no relay answers
const FIRST_DELAY = 250;
const MAX_DELAY = 10_000;
const LONGEST_RETRY_AFTER = 60_000;
const SILENT_FOR = 60_000; // a stream has a heartbeat every 15 seconds
const ASK_AGAIN = new Set([429, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524]);
const TOLERANCE = 300_000;

export class RelayError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.name;
  }
}

/** The relay refused the request. */
export class ApiError extends RelayError {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code, field: error.field });
  }
}

/** Events after the cursor may be missing: go on with `oldestCursor`, or leave them out with `newestCursor`. */
export class CursorGone extends ApiError {
  constructor(error) {
    super(410, error);
    Object.assign(this, { oldestCursor: error.oldest_cursor, newestCursor: error.newest_cursor });
  }
}

/** No relay answers at the address. */
export class Unreachable extends RelayError {}

/** The job has not ended in time; `job` is what was last known of it. */
export class WaitTimeout extends RelayError {
  constructor(jobId, job) {
    super(`job ${jobId} has not ended in time`);
    this.job = job;
  }
}

/** The client was closed, or the caller's signal was aborted. */
export class Closed extends RelayError {}

/** The event is not proven to come from the relay. */
export class Unverified extends RelayError {}

export class Relay {
  #url;
  #key;
  #slice;
  #retryFor;
  #fetch;
  #open = new Set();
  #closed = false;

  constructor({ url, key, slice = SLICE, retryFor = RETRY_FOR, fetch } = {}) {
    const environment = globalThis.process?.env ?? {};
    this.#url = (url ?? environment.RELAY_URL ?? "http://127.0.0.1:8080").replace(/\/+$/, "");
    this.#key = key ?? environment.RELAY_API_KEY;
    this.#slice = slice;
    this.#retryFor = retryFor;
    this.#fetch = fetch ?? ((...request) => globalThis.fetch(...request));
  }

  /** Ends every wait and stream; nothing is opened any more. */
  close() {
    this.#closed = true;
    for (const abort of [...this.#open]) abort();
  }

  /** Creates a job at Exec and registers it. All retries have one idempotency key. */
  async create({ idempotencyKey, signal, ...fields }) {
    return this.#post("/v1/jobs", fields, idempotencyKey, signal);
  }

  /** Registers a job. */
  async register(jobId, { idempotencyKey, signal, ...fields } = {}) {
    return this.#post("/v1/registrations", { job_id: jobId, ...fields }, idempotencyKey, signal);
  }

  /** The job as the relay knows it now. */
  async job(jobId, { workspace, signal } = {}) {
    return this.#send({ path: jobPath(jobId), query: { workspace }, signal });
  }

  /** The job once it has ended, whichever way. `timeout` is in seconds; without one it takes as long as it takes. */
  async wait(jobId, { timeout = Infinity, workspace, signal, onUpdate } = {}) {
    const started = Date.now();
    const deadline = started + timeout * 1000;
    let job;
    let slice = 0;
    for (;;) {
      const giveUpAt = job ? deadline : Math.min(deadline, started + this.#retryFor);
      const query = { workspace, wait: slice || undefined };
      try {
        job = await this.#send({ path: jobPath(jobId), query, wait: slice, signal, giveUpAt });
      } catch (error) {
        if (job && error instanceof Unreachable) throw new WaitTimeout(jobId, job);
        throw error;
      }
      if (job.ended) return job;
      onUpdate?.(job);
      const left = (deadline - Date.now()) / 1000;
      if (left <= 0) throw new WaitTimeout(jobId, job);
      slice = Math.max(1, Math.floor(Math.min(this.#slice, left + 1)));
    }
  }

  /** Events as they come, from the cursor `after` on (`0`: the oldest stored; by default from now on). Goes on over
   * restarts of the relay and cut connections; with `jobId` it ends after the job's last event. */
  async *events({ after = "now", types, jobId, workspace, endpoint, signal } = {}) {
    const fixed = { type: types?.join(","), job_id: jobId, workspace, endpoint };
    let tries = 0;
    for (;;) {
      let pause;
      try {
        // The cursor is in the query, and no header: a browser's reconnect needs no other permission than the first.
        for await (const message of this.#messages({ ...fixed, after }, signal)) {
          tries = 0;
          after = message.id ?? after;
          if (message.type === "end") return;
          if (message.type === "error") throw errorOf(message.data.code === "cursor_gone" ? 410 : 401, message.data);
          if (message.type !== "hello") yield message.data;
        }
      } catch (error) {
        if (error instanceof Ended) return;
        if (!(error instanceof Again)) throw error;
        pause = error.after;
      }
      if (this.#closed) throw new Closed("the client is closed");
      await this.#sleep(backoff(tries++, pause), signal);
    }
  }

  async *#messages(query, signal) {
    const connection = this.#connect(signal, ANSWER_WITHIN);
    try {
      const response = await connection.fetch(this.#target("/v1/events/stream", query), { headers: await this.#credentials() });
      if (response.status === 204) throw new Ended();
      if (!response.ok) await refused(response);
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) throw new Again("no stream");
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      let rest = "";
      for (;;) {
        connection.within(SILENT_FOR);
        const { value, done } = await reader.read();
        if (done) return;
        rest += decoder.decode(value, { stream: true });
        const blocks = rest.split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const message = parse(block);
          if (message) yield message;
        }
      }
    } catch (error) {
      throw connection.meaning(error);
    } finally {
      connection.end();
    }
  }

  async #post(path, body, key, signal) {
    const headers = { "content-type": "application/json", "idempotency-key": key ?? (await randomKey()) };
    return this.#send({ method: "POST", path, body: JSON.stringify(body), headers, signal });
  }

  /** The JSON of the answer, asked for until it is one of the relay's. */
  async #send({ method = "GET", path, query = {}, body, headers = {}, wait = 0, signal, giveUpAt }) {
    const last = giveUpAt ?? Date.now() + this.#retryFor;
    const request = { method, body, redirect: "manual" };
    for (let tries = 0; ; ) {
      let again;
      const connection = this.#connect(signal, wait * 1000 + ANSWER_WITHIN);
      try {
        const sent = { ...request, headers: { ...(await this.#credentials()), ...headers } };
        const response = await connection.fetch(this.#target(path, query), sent);
        if (!response.ok) await refused(response);
        const answer = jsonObject(await response.text());
        if (answer && response.headers.has("x-request-id")) return answer;
        again = new Again("the answer is not a relay's");
      } catch (error) {
        again = connection.meaning(error);
        if (!(again instanceof Again)) throw again;
      } finally {
        connection.end();
      }
      const delay = backoff(tries++, again.after);
      if (Date.now() + delay >= last) throw new Unreachable(`no relay answers at ${this.#url}: ${again.message}`);
      await this.#sleep(delay, signal);
    }
  }

  #target(path, query) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
    return `${this.#url}${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
  }

  /** One request that ends with the client, the caller's signal, or its time. Its listeners end with it. */
  /** The key; in Node without one the token of a relay on this machine that has no API keys. It is read for each
   * request, because a relay that restarts makes a new one. */
  async #credentials() {
    const token = this.#key || (await localToken(this.#url));
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  #connect(signal, milliseconds) {
    if (this.#closed || signal?.aborted) throw new Closed("the client is closed, or the call was aborted");
    const controller = new AbortController();
    let late = false;
    let timer;
    const abort = () => controller.abort();
    const within = (time) => {
      clearTimeout(timer);
      timer = setTimeout(() => ((late = true), abort()), time);
    };
    this.#open.add(abort);
    signal?.addEventListener("abort", abort);
    within(milliseconds);
    return {
      within,
      fetch: (target, request) => this.#fetch(target, { ...request, signal: controller.signal }),
      meaning: (error) => {
        if (error instanceof RelayError || error instanceof Again || error instanceof Ended) return error;
        const byCaller = this.#closed || signal?.aborted;
        return byCaller && !late ? new Closed("the client is closed, or the call was aborted") : new Again(String(error));
      },
      end: () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#open.delete(abort);
        controller.abort(); // a body that nobody reads on
      },
    };
  }

  #sleep(milliseconds, signal) {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", stop);
        this.#open.delete(stop);
      };
      const stop = () => (end(), reject(new Closed("the client is closed, or the call was aborted")));
      const timer = setTimeout(() => (end(), resolve()), milliseconds);
      signal?.addEventListener("abort", stop);
      this.#open.add(stop);
    });
  }
}

/** The event, if a signature proves that the relay sent it: `headers` and `body` as they came, or `signed` of an event.
 * For a stored event give `receivedAt` (milliseconds), or a `tolerance` of null, which takes any age. */
export async function verify(headers, body, secrets, { tolerance = TOLERANCE, receivedAt } = {}) {
  const read = (name) => (typeof headers.get === "function" ? headers.get(name) : headers[name]) ?? "";
  const [id, timestamp, signatures] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(read);
  if (!id || !/^[0-9]{1,12}$/.test(timestamp) || !signatures) throw new Unverified("a webhook header is missing");
  const age = (receivedAt ?? Date.now()) - Number(timestamp) * 1000;
  if (tolerance !== null && Math.abs(age) > tolerance) throw new Unverified("signed too long ago, or in the future");
  const text = typeof body === "string" ? body : new TextDecoder().decode(body);
  const content = new TextEncoder().encode(`${id}.${timestamp}.${text}`);
  const { subtle } = await webcrypto();
  for (const secret of [secrets].flat()) {
    const isPublic = secret.startsWith("whpk_");
    const algorithm = isPublic ? { name: "Ed25519" } : { name: "HMAC", hash: "SHA-256" };
    const key = await subtle.importKey("raw", bytesOf(secret.replace(/^wh(sec|pk)_/, "")), algorithm, false, ["verify"]);
    for (const one of signatures.split(" ").slice(0, 10)) {
      const [version, encoded] = one.split(",");
      if (version !== (isPublic ? "v1a" : "v1") || !encoded) continue;
      if (await subtle.verify(algorithm.name, key, bytesOf(encoded), content)) return JSON.parse(text);
    }
  }
  throw new Unverified("no signature fits: check the secret, and that the body is exactly what was received");
}

/** Reason to ask again, after so many milliseconds if the relay names them. */
class Again extends Error {
  constructor(message, after) {
    super(message);
    this.after = after;
  }
}

/** The stream of a job that has ended. */
class Ended extends Error {}

/** Throws what a response that is not good means. */
async function refused(response) {
  const error = jsonObject(await response.text())?.error;
  const isRelay = typeof error?.message === "string";
  if (ASK_AGAIN.has(response.status) && error?.code !== "exec_key_refused") {
    const seconds = Number(response.headers.get("retry-after") ?? NaN);
    const after = Number.isFinite(seconds) ? Math.min(seconds * 1000, LONGEST_RETRY_AFTER) : undefined;
    throw new Again(isRelay ? error.message : `status ${response.status}`, after);
  }
  throw isRelay ? errorOf(response.status, error) : new Again(`the answer is not a relay's (${response.status})`);
}

function errorOf(status, error) {
  return error.code === "cursor_gone" ? new CursorGone(error) : new ApiError(status, error);
}

function backoff(tries, after = 0) {
  const delay = Math.min(MAX_DELAY, FIRST_DELAY * 2 ** Math.min(tries, 20)) * (0.5 + Math.random() / 2);
  return Math.max(delay, after);
}

/** One message of a stream; undefined for a comment. */
function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name) fields[name] = value;
  }
  if (fields.data === undefined) return undefined;
  return { type: fields.event, id: fields.id, data: JSON.parse(fields.data) };
}

function jsonObject(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The token that `relay serve` without API keys leaves for its user's programs: as the Python package reads it. */
async function localToken(url) {
  if (!globalThis.process?.versions?.node) return undefined;
  const { hostname, port, protocol } = new URL(url);
  if (!/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)) return undefined;
  const [{ lstat, readFile }, { tmpdir }] = await Promise.all([nodeModule("fs/promises"), nodeModule("os")]);
  const user = process.getuid?.();
  const runtime = process.env.XDG_RUNTIME_DIR;
  const folder = runtime ? `${runtime}/exec-relay` : `${tmpdir()}/exec-relay-${user}`;
  try {
    const status = await lstat(folder);
    if (!status.isDirectory() || status.uid !== user || status.mode & 0o077) return undefined;
    return (await readFile(`${folder}/${port || (protocol === "https:" ? 443 : 80)}.token`, "utf8")).trim();
  } catch {
    return undefined; // no relay has written one
  }
}

/** A module of Node, named so that bundlers for browsers leave it alone. */
const nodeModule = (name) => import(/* webpackIgnore: true */ /* @vite-ignore */ `node:${name}`);

function jobPath(jobId) {
  return `/v1/jobs/${encodeURIComponent(jobId)}`;
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

async function randomKey() {
  return (await webcrypto()).randomUUID();
}

/** Node 18 has it in a module only. */
async function webcrypto() {
  return globalThis.crypto ?? (await import("node:crypto")).webcrypto;
}
