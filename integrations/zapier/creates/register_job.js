"use strict";

const { at, given } = require("../calling");
const { asked } = require("./asked");
const { outputFields, sample } = require("./register_job.json");

async function perform(z, bundle) {
  const { job_id, workspace, requested_by, metadata } = bundle.inputData;
  const body = { job_id, ...given({ workspace, requested_by, metadata }) };
  const { data } = await z.request({ method: "POST", url: at(z, bundle, "/v1/registrations"), body });
  return Object.fromEntries(outputFields.map(({ key }) => [key, data[key]]));
}

module.exports = {
  key: "register_job",
  noun: "Job",
  display: {
    label: "Register Job",
    description: "Registers a scenario job at the relay, so that its end triggers Zaps of Scenario Job Ended.",
  },
  operation: {
    perform,
    inputFields: [
      {
        key: "job_id",
        label: "Job ID",
        type: "string",
        required: true,
        helpText: "The `id` from Exec's answer to the creation of the job.",
      },
      {
        key: "workspace",
        label: "Workspace",
        type: "string",
        required: false,
        helpText: "Only for a relay with several Exec workspaces: the name of the job's workspace.",
      },
      ...asked,
    ],
    outputFields,
    sample,
  },
};
