"use strict";

const { version: platformVersion } = require("zapier-platform-core");

const authentication = require("./authentication");
const { addKey, explain } = require("./calling");
const createScenarioJob = require("./creates/create_scenario_job");
const registerJob = require("./creates/register_job");
const findJob = require("./searches/find_job");
const jobEnded = require("./triggers/job_ended");
const { version } = require("./package.json");

module.exports = {
  version,
  platformVersion,
  authentication,
  beforeRequest: [addKey],
  afterResponse: [explain],
  triggers: { [jobEnded.key]: jobEnded },
  creates: { [createScenarioJob.key]: createScenarioJob, [registerJob.key]: registerJob },
  searches: { [findJob.key]: findJob },
};
