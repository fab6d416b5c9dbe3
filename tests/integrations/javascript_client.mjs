// What the JavaScript client does, one case for each name; `test_javascript.py` has the relay, and reads the last line.
import http from "node:http";

import { ApiError, Closed, CursorGone, Relay, Unreachable, Unverified, verify, WaitTimeout } from "../../integrations/javascript/relay.js";

const [name, url, key, ...more] = process.argv.slice(2);
const relay = new Relay({ url, key, slice: 2 });

/** A server that answers each request with the next of `answers`, a function of request and response. */
async function standIn(answers, use) {
  const asked = [];
  const server = http.createServer((request, response) => {
    asked.push({ url: request.url, key: request.headers["idempotency-key"], headers: Object.keys(request.headers) });
    answers[Math.min(asked.length, answers.length) - 1](request, response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await use(`http://127.0.0.1:${server.address().port}`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const job = (ended) => JSON.stringify({ job_id: "j1", ended, state: ended ? "settled" : "active", job: null });
const answer = (status, body, headers = {}) => (_, response) => response.writeHead(status, { "x-request-id": "r", ...headers }).end(body);
const html = (status) => answer(status, "<h1>an error page</h1>", { "content-type": "text/html" });
const cut = (request) => request.socket.destroy();
const stream = (...messages) => (_, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write("retry: 3000\n\nevent: hello\nid: c0\ndata: {\"cursor\":\"c0\"}\n\n: still here\n\n");
  for (const message of messages) response.write(message);
  setTimeout(() => response.destroy(), 30);
};
const event = (number) => `event: job.completed\nid: c${number}\ndata: {"id":"e${number}","cursor":"c${number}"}\n\n`;

async function error(work) {
  try {
    await work();
  } catch (raised) {
    return raised;
  }
  throw new Error("nothing was raised");
}

const cases = {
  async create() {
    const { job } = await relay.create({ user_email: "jane@acme.com", prompt: "A discovery call" });
    const ended = await relay.wait(job.id, { timeout: 60 });
    return { status: ended.job.status, url: ended.job.scenario.url };
  },
  async wait() {
    const ended = await relay.wait(more[0] ?? "j1", { timeout: 100 });
    return { ended: ended.ended };
  },
  async status() {
    return { status: (await error(() => relay.job("j1"))).status };
  },
  async follow() {
    const found = [];
    for await (const event of relay.events({ after: "0", jobId: "j1" })) found.push(event.type);
    return { found };
  },
  async signed() {
    for await (const event of relay.events({ after: "0", endpoint: "ops" })) {
      const { headers, body } = event.signed;
      const verified = await verify(headers, body, more[0]);
      const flipped = await error(() => verify(headers, body.replace("j1", "j2"), more[0]));
      const received = Number(headers["webhook-timestamp"]) * 1000;
      const old = { ...headers, "webhook-timestamp": headers["webhook-timestamp"] };
      const late = await error(() => verify(old, body, more[0], { receivedAt: received + 30 * 86_400_000 }));
      await verify(old, body, more[0], { receivedAt: received });
      await verify(old, body, [more[0]], { tolerance: null });
      return { type: verified.type, names: [flipped.name, late.name] };
    }
  },
  async refused() {
    const unknown = await error(() => relay.wait("unknown"));
    const wrong = await error(() => new Relay({ url, key: "relay_wrong" }).job("j1"));
    const gone = await error(async () => {
      for await (const _ of relay.events({ after: more[0] }));
    });
    return {
      unknown: [unknown instanceof ApiError, unknown.status, unknown.code],
      wrong: wrong.status,
      gone: [gone instanceof CursorGone, typeof gone.oldestCursor],
    };
  },
  async troubles() {
    const answers = [cut, html(502), html(504), html(524), html(200), answer(429, "{}", { "retry-after": "0" }), answer(200, job(true))];
    return standIn(answers, async (at, asked) => {
      const ended = await new Relay({ url: at }).wait("j1", { timeout: 60 });
      return { ended: ended.ended, asked: asked.length };
    });
  },
  async slices() {
    const answers = [answer(200, job(false)), answer(200, job(false)), answer(200, job(true))];
    return standIn(answers, async (at, asked) => {
      await new Relay({ url: at }).wait("j1", { timeout: 3600 });
      return { asked: asked.map((one) => one.url) };
    });
  },
  async keys() {
    const created = answer(201, JSON.stringify({ job: { id: "j1" }, request_id: "r", registration: {} }));
    return standIn([cut, cut, cut, created], async (at, asked) => {
      const { job } = await new Relay({ url: at }).create({ user_email: "a@b.c", prompt: "p" });
      return { id: job.id, asked: asked.length, keys: new Set(asked.map((one) => one.key)).size };
    });
  },
  async reconnects() {
    const ended = 'event: end\nid: c9\ndata: {"job_id":"j1"}\n\n';
    const answers = [stream(event(1), event(2)), html(502), html(502), stream(event(3), ended)];
    return standIn(answers, async (at, asked) => {
      const found = [];
      for await (const one of new Relay({ url: at }).events({ after: "0", jobId: "j1" })) found.push(one.id);
      const sameHeaders = new Set(asked.map((one) => one.headers.sort().join())).size === 1;
      return { found, asked: asked.map((one) => new URL(one.url, at).searchParams.get("after")), sameHeaders };
    });
  },
  async stops() {
    return standIn([answer(204)], async (at, asked) => {
      for await (const _ of new Relay({ url: at }).events({ jobId: "j1" }));
      return { asked: asked.length };
    });
  },
  async closes() {
    return standIn([(_, response) => response.writeHead(200, { "content-type": "text/event-stream" }).write("\n\n")], async (at, asked) => {
      const one = new Relay({ url: at });
      const following = error(async () => {
        for await (const _ of one.events());
      });
      while (!asked.length) await new Promise((resolve) => setTimeout(resolve, 5));
      one.close();
      const afterwards = await error(() => one.job("j1"));
      return { name: (await following).name, afterwards: afterwards instanceof Closed, asked: asked.length };
    });
  },
  async times() {
    return standIn([answer(200, job(false))], async (at) => {
      const late = await error(() => new Relay({ url: at }).wait("j1", { timeout: 0 }));
      const nobody = await error(() => new Relay({ url: "http://127.0.0.1:9", retryFor: 300 }).wait("j1"));
      return { late: late instanceof WaitTimeout, nobody: nobody instanceof Unreachable, bad: new Unverified("x").name };
    });
  },
  async listeners() {
    return standIn([answer(200, job(false))], async (at) => {
      const controller = new AbortController();
      let open = 0;
      const { addEventListener, removeEventListener } = controller.signal;
      controller.signal.addEventListener = function (...words) {
        open += 1;
        return addEventListener.apply(this, words);
      };
      controller.signal.removeEventListener = function (...words) {
        open -= 1;
        return removeEventListener.apply(this, words);
      };
      const one = new Relay({ url: at });
      for (let number = 0; number < 2_000; number += 1) await one.job("j1", { signal: controller.signal });
      return { open };
    });
  },
};

console.log(JSON.stringify(await cases[name]()));
process.exit(0);
