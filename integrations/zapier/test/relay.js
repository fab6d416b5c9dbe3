"use strict";

// The relay and the stand-in for Exec that the tests talk to. `tests/integrations/test_zapier.py` starts both.
const { once } = require("node:events");
const http = require("node:http");

const names = ["RELAY_URL", "RELAY_KEY", "RELAY_READ_KEY", "EXEC_URL", "EXEC_KEY"];
const missing = names.filter((name) => !process.env[name]);
if (missing.length) {
  throw new Error(`${missing.join(", ")} not set: run these tests with pytest tests/integrations/test_zapier.py`);
}
const { RELAY_URL, RELAY_KEY, RELAY_READ_KEY, EXEC_URL, EXEC_KEY } = process.env;

const authData = { base_url: RELAY_URL, api_key: RELAY_KEY };

async function relay(method, path, body) {
  const headers = { authorization: `Bearer ${RELAY_KEY}`, "content-type": "application/json" };
  return fetch(`${RELAY_URL}${path}`, { method, headers, body: body && JSON.stringify(body) });
}

async function startJob() {
  const answer = await fetch(`${EXEC_URL}/rest/v1/scenario-studio/jobs`, {
    method: "POST",
    headers: { authorization: `Bearer ${EXEC_KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ user_email: "zapier@example.com", prompt: "Discovery call with an IT director" }),
  });
  return (await answer.json()).id;
}

// What Zapier's side of a subscription is: a URL, what it answers, and what came there.
async function zapierUrl(t, status = 200) {
  const received = [];
  const waiting = [];
  const server = http.createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    response.writeHead(zap.status, { "content-type": "application/json" }).end('{"status":"success"}');
    const body = JSON.parse(Buffer.concat(parts).toString());
    const next = waiting.shift();
    if (next) next(body);
    else received.push(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close() && server.closeAllConnections());
  const next = () => (received.length ? received.shift() : new Promise((resolve) => waiting.push(resolve)));
  const zap = { url: `http://127.0.0.1:${server.address().port}/hooks/standard/1/abc/`, status, next };
  return zap;
}

module.exports = { authData, relay, startJob, zapierUrl, RELAY_URL, RELAY_READ_KEY };
