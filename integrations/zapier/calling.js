"use strict";

// The URL of a call: `https://relay.example.com` → `https://relay.example.com/v1/endpoints`.
const at = (z, bundle, path) => `${base(z, bundle.authData.base_url)}${path}`;

function base(z, text) {
  let url;
  try {
    url = new URL(String(text).trim());
  } catch {
    throw wrongAddress(z, "it is not a URL such as https://relay.example.com");
  }
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && local)) {
    throw wrongAddress(z, "it must begin with https://, because requests contain the API key");
  }
  if (url.username || url.password || url.search || url.hash) {
    throw wrongAddress(z, "leave out user, password, ? and #");
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

const wrongAddress = (z, why) => new z.errors.Error(`The relay's address can't be used: ${why}`, "AuthenticationError");

// Every request of this integration goes to the relay: `at` makes all their URLs.
function addKey(request, z, bundle) {
  request.headers.authorization = `Bearer ${String(bundle.authData.api_key).trim()}`;
  return request;
}

// Shows the relay's error message instead of status and raw JSON. If the relay is unavailable, Zapier retries later.
function explain(response, z) {
  if (response.status < 400 || response.skipThrowForStatus) return response;
  const { code, message } = errorOf(response);
  if (response.status === 503) {
    throw new z.errors.ThrottledError(message, Number(response.getHeader("retry-after")) || 60);
  }
  const kind = response.status === 401 || response.status === 403 ? "AuthenticationError" : code;
  throw new z.errors.Error(message, kind, response.status);
}

function errorOf(response) {
  try {
    const { code, message } = JSON.parse(response.content).error;
    if (message) return { code, message: `The relay says: ${message}` };
  } catch {
    // not the relay's envelope: a proxy answered
  }
  const message = `The address answered ${response.status}, and not like a relay: check the relay's address`;
  return { code: "not_a_relay", message };
}

// The fields that are filled in: an empty one would be refused, or overwrite a default.
const given = (fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value && Object.keys(Object(value)).length !== 0));

module.exports = { at, addKey, explain, given };
