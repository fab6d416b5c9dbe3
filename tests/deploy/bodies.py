"""The bodies that chats get, judged by the services' own types and parsers. Run by `make bodies`."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.node import ROOT, installed

FOLDER = ROOT / "tests/bodies"
GOLDEN = ROOT / "tests/unit/golden"

TYPES = """\
import type { LinkPreviewOptions, MessageEntity } from "@grammyjs/types";
import type { chat_v1 } from "@googleapis/chat";
import type { KnownBlock } from "@slack/types";
import type { RESTPostAPIWebhookWithTokenJSONBody } from "discord-api-types/v10";

type Slack = { text: string; mrkdwn: boolean; blocks: KnownBlock[] };
type SlackMessage = Slack & { attachments: never[]; metadata: object; unfurl_links: boolean };
type Bodies = {
  discord: RESTPostAPIWebhookWithTokenJSONBody;
  google_chat: Pick<chat_v1.Schema$Message, "fallbackText" | "cardsV2" | "thread">;
  slack: Slack;
  slack_app: { message: SlackMessage; requested_by: string | null };
  telegram: { text: string; entities: MessageEntity[]; link_preview_options: LinkPreviewOptions };
};
"""
"""Literals of these types are checked for fields that are missing, wrong or unknown."""

CARDS = """\
const cards = require("./node_modules/adaptivecards/dist/adaptivecards.js");

function faults(content) {
  const context = new cards.SerializationContext(cards.Versions.v1_4);
  const card = new cards.AdaptiveCard();
  card.parse(content, context);
  const found = [...Array(context.eventCount).keys()].map((number) => context.getEventAt(number).message);
  return [...found, ...card.validateProperties().validationEvents.map(({ message }) => message)];
}

const bodies = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"));
console.log(JSON.stringify(bodies.map(([name, body]) => [name, faults(body.attachments[0].content)])));
"""
"""What Microsoft's own parser of Adaptive Cards 1.4 finds wrong."""


def bodies(format: str) -> list[tuple[str, object]]:
    """Every golden body of a format, with its name."""
    return [(path.stem, json.loads(path.read_text())) for path in sorted((GOLDEN / format).glob("*.json"))]


def compiled(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What TypeScript's compiler says of the program, in its strict mode."""
    packages = installed(FOLDER) / "node_modules"
    (folder / "node_modules").symlink_to(packages)
    (folder / "bodies.ts").write_text(program)
    strict = {"strict": True, "noEmit": True, "skipLibCheck": True, "target": "es2022", "types": []}
    options = {"compilerOptions": strict | {"module": "nodenext"}, "files": ["bodies.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(options))
    words = [str(packages / ".bin/tsc"), "-p", "."]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def literal(format: str, name: str, body: object) -> str:
    return f'export const {format}_{name.replace("-", "_")}: Bodies["{format}"] = {json.dumps(body)};\n'


def test_slack_discord_google_chat_and_telegram_know_every_field(tmp_path: Path) -> None:
    """By the types that they, or the makers of their usual clients, publish."""
    formats = ("discord", "google_chat", "slack", "slack_app", "telegram")
    literals = [literal(format, name, body) for format in formats for name, body in bodies(format)]
    assert len(literals) >= 5 * 13
    done = compiled(TYPES + "".join(literals), tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("format", ["discord", "google_chat", "slack", "slack_app", "telegram"])
def test_a_wrong_body_is_found(format: str, tmp_path: Path) -> None:
    """Else the test above would say nothing: a field of another name does not compile."""
    name, body = bodies(format)[0]
    done = compiled(TYPES + literal(format, name, json.loads(json.dumps(body).replace('"text":', '"txet":'))), tmp_path)
    assert done.returncode != 0
    assert "txet" in done.stdout


def cards(some: list[tuple[str, object]], folder: Path) -> dict[str, list[str]]:
    """By the name of a body for Teams, what is wrong with its card."""
    (folder / "bodies.json").write_text(json.dumps(some))
    words = ["node", "-e", CARDS, str(folder / "bodies.json")]
    done = subprocess.run(words, cwd=installed(FOLDER), capture_output=True, text=True, timeout=60, check=True)
    return dict(json.loads(done.stdout))


def test_microsofts_parser_takes_every_card(tmp_path: Path) -> None:
    """Without a warning; a card with an unknown element and a wrong value has two."""
    some = bodies("teams")
    assert cards(some, tmp_path) == {name: [] for name, _ in some}
    wrong = {"type": "AdaptiveCard", "version": "1.4", "body": [{"type": "Txt"}, {"type": "TextBlock", "size": "vast"}]}
    found = cards([("wrong", {"attachments": [{"content": wrong}]})], tmp_path)
    assert len(found["wrong"]) >= 2
