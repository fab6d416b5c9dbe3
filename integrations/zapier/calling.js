"use strict";

// Where the relay is, as every call needs it: `https://relay.example.com` → `https://relay.example.com/v1/endpoints`.
const at = (z, bundle, path) => `${base(z, bundle.authData.base_url)}${path}`;

function base(z, text) {
  let url;
  try {
    url = new URL(String(text).trim());
  } catch {
    throw wrongAddress(z, "it is not a URL; it looks like https://relay.example.com");
  }
  const local = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && local)) {
    throw wrongAddress(z, "it must begin with https://, since the API key goes there");
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

// The relay's own words, instead of a status and raw JSON. A relay that can't answer just now is asked again later.
function explain(response, z) {
  if (response.status < 400 || response.skipThrowForStatus) return response;
  const { code, message } = told(response);
  if (response.status === 503) {
    throw new z.errors.ThrottledError(message, Number(response.getHeader("retry-after")) || 60);
  }
  const kind = response.status === 401 || response.status === 403 ? "AuthenticationError" : code;
  throw new z.errors.Error(message, kind, response.status);
}

function told(response) {
  try {
    const { code, message } = JSON.parse(response.content).error;
    if (message) return { code, message: `The relay says: ${message}` };
  } catch {
    // not the relay's envelope: something before it answered
  }
  const message = `The address answered ${response.status}, and not as a relay does: check the relay's address`;
  return { code: "not_a_relay", message };
}

module.exports = { at, addKey, explain };
