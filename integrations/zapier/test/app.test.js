"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");
const { test } = require("node:test");
const zapier = require("zapier-platform-core");
const { validateAppDefinition } = require("zapier-platform-schema");

const App = require("..");
const { authData, relay, startJob, zapierUrl, RELAY_URL, RELAY_READ_KEY } = require("./relay");

const run = zapier.createAppTester(App);
const { performSubscribe, performUnsubscribe, perform, performList, outputFields } = App.triggers.job_ended.operation;
const keys = outputFields.map(({ key }) => key);
const register = App.creates.register_job.operation.perform;

const subscribe = (targetUrl, inputData = {}) => run(performSubscribe, { authData, targetUrl, inputData });
const unsubscribe = (subscribeData) => run(performUnsubscribe, { authData, subscribeData });
const list = (inputData = {}) => run(performList, { authData, inputData });
const endpoint = async (id) => relay("GET", `/v1/endpoints/${id}`);

test("the app is what Zapier's schema asks for", () => {
  assert.deepEqual(validateAppDefinition(structuredCloneWithoutFunctions(App)).errors, []);
});

function structuredCloneWithoutFunctions(app) {
  // As the platform does before it validates: a function becomes the place where it is.
  const known = (value) => (typeof value === "function" ? "$func$2$f$" : value);
  return JSON.parse(JSON.stringify(app, (_, value) => known(value)));
}

test("a connection is tested, and named after the relay", async () => {
  const label = await run(App.authentication.test, { authData });
  assert.equal(label.relay, new URL(RELAY_URL).host);
});

test("a space or a slash too many does not matter", async () => {
  const padded = { base_url: ` ${RELAY_URL}/ `, api_key: ` ${authData.api_key}\n` };
  assert.ok(await run(App.authentication.test, { authData: padded }));
});

test("an unknown key is refused in the relay's words", async () => {
  const wrong = { ...authData, api_key: `relay_${"x".repeat(43)}` };
  await assert.rejects(run(App.authentication.test, { authData: wrong }), /The relay says: this API key is not known/);
});

test("a key without the scope gets an error that names the missing scope", async () => {
  const reader = { ...authData, api_key: RELAY_READ_KEY };
  assert.ok(await run(App.authentication.test, { authData: reader }));
  const bundle = { authData: reader, targetUrl: "https://example.com/", inputData: {} };
  await assert.rejects(run(performSubscribe, bundle), /needs a key with the scope subscribe/);
});

test("the key goes nowhere without https, and only to an address", async () => {
  for (const base_url of ["http://relay.example.com", "relay.example.com", "ftp://relay.example.com", ""]) {
    await assert.rejects(run(App.authentication.test, { authData: { ...authData, base_url } }), /address can't be used/);
  }
  const withUser = { ...authData, base_url: "https://me:secret@relay.example.com" };
  await assert.rejects(run(App.authentication.test, { authData: withUser }), /leave out user/);
});

for (const [what, status, body] of [
  ["a page of HTML", 200, "<p>hello</p>"],
  ["some other JSON", 200, '{"hello":"world"}'],
  ["an error of its own", 404, "<h1>Not Found</h1>"],
  ["JSON that is no envelope", 500, '{"error":"oops"}'],
]) {
  test(`an address that answers ${what} is said to be no relay`, async (t) => {
    const server = http.createServer((_, response) => response.writeHead(status).end(body)).listen(0, "127.0.0.1");
    t.after(() => server.close());
    await new Promise((resolve) => server.once("listening", resolve));
    const other = { ...authData, base_url: `http://127.0.0.1:${server.address().port}` };
    await assert.rejects(run(App.authentication.test, { authData: other }), /check (it|the relay's address)/);
  });
}

test("a relay that can't answer just now is asked again later", async (t) => {
  const busy = http.createServer((_, response) => {
    response.writeHead(503, { "retry-after": "7", "content-type": "application/json" });
    response.end('{"error":{"type":"service_unavailable","code":"store_unavailable","message":"try again later"}}');
  });
  busy.listen(0, "127.0.0.1");
  t.after(() => busy.close());
  await new Promise((resolve) => busy.once("listening", resolve));
  const bundle = { authData: { ...authData, base_url: `http://127.0.0.1:${busy.address().port}` }, inputData: {} };
  const error = await run(performList, bundle).then(assert.fail, (thrown) => thrown);
  assert.equal(error.name, "ThrottledError");
  assert.equal(JSON.parse(error.message.split("\n")[0]).delay, 7);
});

test("a job that is registered here starts the Zap, with the keys that were promised", async (t) => {
  const zap = await zapierUrl(t);
  const subscription = await subscribe(zap.url);
  t.after(() => unsubscribe(subscription));
  assert.deepEqual(Object.keys(subscription), ["id"]);

  const job_id = await startJob();
  const registered = await run(register, { authData, inputData: { job_id } });
  assert.deepEqual(Object.keys(registered), Object.keys(App.creates.register_job.operation.sample));
  assert.equal(registered.job_id, job_id);

  const cleanedRequest = await zap.next();
  const [item] = await run(perform, { authData, subscribeData: subscription, cleanedRequest });
  assert.equal(item.job_id, job_id);
  assert.equal(item.event, "job.completed");
  assert.deepEqual(Object.keys(item), keys);

  const [newest] = await list();
  assert.deepEqual(newest, item, "what the editor shows is what is sent");
  assert.deepEqual(await list({ events: ["job.failed"] }), []);
});

test("who asked, and for what, comes with the job's end", async (t) => {
  const zap = await zapierUrl(t);
  const subscription = await subscribe(zap.url);
  t.after(() => unsubscribe(subscription));
  const inputData = { job_id: await startJob(), requested_by: "jane@acme.com", metadata: { deal: "Acme" }, workspace: "" };
  await run(register, { authData, inputData });
  const item = await zap.next();
  assert.equal(item.requested_by, "jane@acme.com");
  assert.equal(item.metadata_deal, "Acme");
});

test("a job is created once, and found afterwards", async () => {
  const create = App.creates.create_scenario_job.operation;
  const inputData = { user_email: "jane@acme.com", prompt: "A discovery call", request_id: `zap-${process.pid}` };
  const first = await run(create.perform, { authData, inputData });
  assert.deepEqual(Object.keys(first), Object.keys(create.sample));
  assert.equal((await run(create.perform, { authData, inputData })).id, first.id);
  const find = App.searches.find_job.operation;
  const [found] = await run(find.perform, { authData, inputData: { job_id: first.id } });
  assert.deepEqual(Object.keys(found), Object.keys(find.sample));
  assert.equal(found.id, first.id);
  assert.deepEqual(await run(find.perform, { authData, inputData: { job_id: "unknown" } }), []);
});

test("the key may change its own subscriptions only", async () => {
  const answer = await relay("GET", "/v1/endpoints?limit=1");
  assert.equal(answer.status, 200);
  const other = await relay("PATCH", "/v1/endpoints/ep_01HQX0000000000000000000AA");
  assert.equal(other.status, 403);
});

test("registering twice is registering once", async () => {
  const job_id = await startJob();
  const [first, second] = [1, 2].map(() => run(register, { authData, inputData: { job_id, workspace: "default" } }));
  assert.equal((await first).id, (await second).id);
});

test("a job id that is none is refused in the relay's words", async () => {
  const wrong = run(register, { authData, inputData: { job_id: "not a job" } });
  await assert.rejects(wrong, /The relay says: job_id is not written as it must be/);
});

test("a Zap hears of the events that were chosen, in Zapier's format", async (t) => {
  const zap = await zapierUrl(t);
  const subscription = await subscribe(zap.url, { events: ["job.failed", "job.expired"] });
  t.after(() => unsubscribe(subscription));
  const found = await (await endpoint(subscription.id)).json();
  assert.deepEqual(found.events, ["job.failed", "job.expired"]);
  assert.equal(found.format, "zapier");
});

test("unsubscribing removes the endpoint; once more does no harm", async (t) => {
  const subscription = await subscribe((await zapierUrl(t)).url);
  assert.equal((await endpoint(subscription.id)).status, 200);
  await unsubscribe(subscription);
  assert.equal((await endpoint(subscription.id)).status, 404);
  await unsubscribe(subscription);
});

test("unsubscribing with a key that is gone is an error", async () => {
  const stale = { authData: { ...authData, api_key: "relay_gone" }, subscribeData: { id: "ep_1" } };
  await assert.rejects(run(performUnsubscribe, stale), /401|not known/);
});

test("a Zap that answered 410 is switched on again by subscribing again", async (t) => {
  const zap = await zapierUrl(t, 410);
  const subscription = await subscribe(zap.url);
  t.after(() => unsubscribe(subscription));
  await run(register, { authData, inputData: { job_id: await startJob() } });
  await zap.next();
  const enabled = async () => (await (await endpoint(subscription.id)).json()).enabled;
  while (await enabled()) await new Promise((resolve) => setTimeout(resolve, 20));
  zap.status = 200;
  assert.deepEqual(await subscribe(zap.url), subscription);
  assert.ok(await enabled());
});
