"use strict";

const { at, given } = require("../calling");
const { asked } = require("./asked");
const { outputFields, sample } = require("./create_scenario_job.json");

async function perform(z, bundle) {
  const { user_email, prompt, context, workspace, requested_by, metadata } = bundle.inputData;
  const { request_id } = bundle.inputData; // a repetition with the same one creates nothing twice
  const body = { user_email, prompt, ...given({ context, workspace, requested_by, metadata, request_id }) };
  const { data } = await z.request({ method: "POST", url: at(z, bundle, "/v1/jobs"), body });
  const { id, status } = data.job;
  return { id, status, request_id: data.request_id, registration_id: data.registration.id };
}

module.exports = {
  key: "create_scenario_job",
  noun: "Job",
  display: {
    label: "Create Scenario Job",
    description: "Creates a scenario job at Exec and registers it, so that its end triggers Zaps of Scenario Job Ended.",
  },
  operation: {
    perform,
    inputFields: [
      {
        key: "user_email",
        label: "User Email",
        type: "string",
        required: true,
        helpText: "The member of the Exec workspace for whom the scenario is created.",
      },
      { key: "prompt", label: "Prompt", type: "text", required: true, helpText: "The description of the scenario." },
      { key: "context", label: "Context", type: "text", required: false, helpText: "Exec's field `context`." },
      {
        key: "request_id",
        label: "Request ID",
        type: "string",
        required: false,
        helpText: "A text that is the same whenever this step is repeated, such as the id of the trigger: then a repetition creates no second job.",
      },
      {
        key: "workspace",
        label: "Workspace",
        type: "string",
        required: false,
        helpText: "Only for a relay with several Exec workspaces: the name of the workspace.",
      },
      ...asked,
    ],
    outputFields,
    sample,
  },
};
