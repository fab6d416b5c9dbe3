// Reads requests as JSON, [{headers, body, secrets}] with the body in base64, and prints how many there were; or fails,
// where a public package does not take what each of its secrets signed, or takes what was changed on the way.
import { readFileSync } from "node:fs";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const taken = (verifier, body, headers) => {
  try {
    verifier.verify(body, headers);
    return true;
  } catch (error) {
    if (error.constructor.name !== "WebhookVerificationError") throw error;
    return false;
  }
};

const requests = JSON.parse(readFileSync(0, "utf8"));
for (const { headers, body, secrets } of requests) {
  const sent = Buffer.from(body, "base64").toString("utf8");
  for (const secret of secrets) {
    for (const Verifier of [Standard, Svix]) {
      const verifier = new Verifier(secret);
      if (!taken(verifier, sent, headers)) throw new Error(`${Verifier.name} refuses ${headers["webhook-id"]}`);
      if (taken(verifier, sent + " ", headers)) throw new Error(`${Verifier.name} takes another body`);
      if (taken(verifier, sent, { ...headers, "webhook-id": "evt_other" })) throw new Error(`${Verifier.name} takes another id`);
    }
  }
}
console.log(requests.length);
