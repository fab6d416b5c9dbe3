"use strict";

const { at } = require("../calling");
const { events, outputFields, sample } = require("./job_ended.json");

async function performSubscribe(z, bundle) {
  const chosen = bundle.inputData.events ?? [];
  const body = { hookUrl: bundle.targetUrl, format: "zapier", ...(chosen.length && { events: chosen }) };
  const { data } = await z.request({ method: "POST", url: at(z, bundle, "/v1/endpoints"), body });
  if (!data.enabled) {
    // The same Zap, switched on again after a 410 from Zapier disabled its endpoint.
    await z.request({ method: "POST", url: at(z, bundle, `/v1/endpoints/${data.id}/enable`) });
  }
  return { id: data.id }; // without the signing secret: Zapier stores this object
}

async function performUnsubscribe(z, bundle) {
  const url = at(z, bundle, `/v1/endpoints/${encodeURIComponent(bundle.subscribeData.id)}`);
  const response = await z.request({ method: "DELETE", url, skipThrowForStatus: true });
  if (response.status !== 404) {
    response.throwForStatus(); // 404: the relay has already removed it
  }
  return {};
}

const perform = async (z, bundle) => [bundle.cleanedRequest];

// Samples for the editor: the latest events, exactly as the relay sends them.
async function performList(z, bundle) {
  const chosen = bundle.inputData.events?.length ? bundle.inputData.events : Object.keys(events);
  const params = { format: "zapier", limit: 50, ...(chosen.length === 1 && { type: chosen[0] }) };
  const { data } = await z.request({ url: at(z, bundle, "/v1/events"), params });
  return data.data.map(({ body }) => body).filter(({ event }) => chosen.includes(event));
}

module.exports = {
  key: "job_ended",
  noun: "Job",
  display: {
    label: "Scenario Job Ended",
    description: "Triggers when a scenario job that the relay watches has ended: completed, failed or otherwise.",
  },
  operation: {
    type: "hook",
    performSubscribe,
    performUnsubscribe,
    perform,
    performList,
    inputFields: [
      {
        key: "events",
        label: "Events",
        type: "string",
        list: true,
        choices: events,
        required: false,
        helpText: "The events that start the Zap; an empty choice means all.",
      },
    ],
    outputFields,
    sample,
  },
};
