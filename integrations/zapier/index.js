"use strict";

const { version: platformVersion } = require("zapier-platform-core");

const authentication = require("./authentication");
const { addKey, explain } = require("./calling");
const registerJob = require("./creates/register_job");
const jobEnded = require("./triggers/job_ended");
const { version } = require("./package.json");

module.exports = {
  version,
  platformVersion,
  authentication,
  beforeRequest: [addKey],
  afterResponse: [explain],
  triggers: { [jobEnded.key]: jobEnded },
  creates: { [registerJob.key]: registerJob },
};
