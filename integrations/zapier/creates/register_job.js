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
    description: "Asks the relay to watch a scenario job, so that Zaps of Scenario Job Ended hear of its end.",
  },
  operation: {
    perform,
    inputFields: [
      {
        key: "job_id",
        label: "Job ID",
        type: "string",
        required: true,
        helpText: "The `id` that Exec answered when the job was created.",
      },
      {
        key: "workspace",
        label: "Workspace",
        type: "string",
        required: false,
        helpText: "Only where the relay knows several workspaces of Exec: the name of the job's.",
      },
    ],
    outputFields,
    sample,
  },
};
