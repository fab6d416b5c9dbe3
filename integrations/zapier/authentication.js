"use strict";

const { at } = require("./calling");

async function test(z, bundle) {
  const response = await z.request({ url: at(z, bundle, "/v1/events"), params: { limit: 1 } });
  if (!Array.isArray(response.data?.data)) {
    throw new z.errors.Error("There is no relay at this address; check it", "AuthenticationError");
  }
  return { relay: new URL(response.request.url).host };
}

module.exports = {
  type: "custom",
  test,
  connectionLabel: "{{relay}}",
  fields: [
    {
      key: "base_url",
      label: "Address of the relay",
      type: "string",
      required: true,
      placeholder: "https://relay.example.com",
      helpText: "The public address of your relay: `server.public_url` in its configuration.",
    },
    {
      key: "api_key",
      label: "API key",
      type: "password",
      required: true,
      helpText: "An API key of the relay (`relay keys create`), with the scopes subscribe, register and read. Not a key of Exec.",
    },
  ],
};
