"""Every target: one file a parser, save that the short texts share one."""

from tests.fuzz import (
    callback_urls,
    configuration,
    exec_answers,
    headers,
    jobs,
    receiver_answers,
    requests,
    sandbox,
    signatures,
    templates,
    texts,
)
from tests.fuzz.target import Target

MODULES = (
    configuration,
    exec_answers,
    headers,
    receiver_answers,
    requests,
    callback_urls,
    signatures,
    jobs,
    sandbox,
    templates,
)
TARGETS: tuple[Target, ...] = (
    *(module.TARGET for module in MODULES),
    *(texts.TIMES, texts.PAGES, texts.NAMES, texts.SETTINGS_TARGET, texts.LEARNED),
)
