"use strict";

const { at } = require("../calling");
const { outputFields, sample } = require("./find_job.json");

async function perform(z, bundle) {
  const url = at(z, bundle, `/v1/jobs/${encodeURIComponent(bundle.inputData.job_id)}`);
  const response = await z.request({ url, skipThrowForStatus: true });
  if (response.status === 404) return []; // Zapier's form of "not found"
  response.throwForStatus();
  const { job_id, workspace, state, job } = response.data;
  const { name: scenario_name = null, url: scenario_url = null } = job?.scenario ?? {};
  const { code: error_code = null, message: error_message = null } = job?.error ?? {};
  const status = job?.status ?? null;
  return [{ id: job_id, workspace, state, status, scenario_name, scenario_url, error_code, error_message }];
}

module.exports = {
  key: "find_job",
  noun: "Job",
  display: { label: "Find Job", description: "Finds a job that the relay knows, by its id." },
  operation: {
    perform,
    inputFields: [{ key: "job_id", label: "Job ID", type: "string", required: true, helpText: "Exec's id of the job." }],
    outputFields,
    sample,
  },
};
