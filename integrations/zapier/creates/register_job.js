"use strict";

const { at } = require("../calling");
const { outputFields, sample } = require("./register_job.json");

async function perform(z, bundle) {
  const { job_id, workspace } = bundle.inputData;
  const body = workspace ? { job_id, workspace } : { job_id };
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
    ],
    outputFields,
    sample,
  },
};
