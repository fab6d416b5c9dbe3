"use strict";

// The fields of both actions that say who asked, and for what.
const asked = [
  {
    key: "requested_by",
    label: "Requested By",
    type: "string",
    required: false,
    helpText: "The e-mail address or the name of who wants the scenario: it stands in every message about the job.",
  },
  {
    key: "metadata",
    label: "Metadata",
    dict: true,
    required: false,
    helpText: "Names and values of your own, such as the deal: they come back as `metadata_NAME`, and chats show three.",
  },
];

module.exports = { asked };
