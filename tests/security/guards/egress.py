"""Outgoing connections."""

from tests.security.guard import Guard, also, gone, never, no_call, swap

_ON_SOCKETS = "tests/adapters/egress/test_guard.py"
_URLS = "tests/unit/egress/test_url_policy.py"
_ON_THE_WIRE = "tests/adapters/egress/test_http_client.py"

EGRESS = (
    Guard(
        "dialled-address",
        "The relay does not connect to loopback, private, link-local or cloud addresses, whatever a name resolves to",
        f"{_ON_SOCKETS}::test_a_name_of_this_machine_is_not_dialled",
        no_call("blocked_reason"),
    ),
    Guard(
        "each-dial",
        "It checks the address at each connection, so a name that changes its address gains nothing (DNS rebinding)",
        f"{_ON_SOCKETS}::test_a_name_that_changes_its_address_is_judged_at_each_dial",
        gone,
    ),
    Guard(
        "url-address",
        "Registration refuses a URL that contains such an address in any notation, or hides its host",
        f"{_URLS}::test_a_hostile_url_is_refused",
        never,
    ),
    Guard(
        "url-credentials",
        "Registration refuses a web URL with a user name or password, and does not repeat them",
        f"{_URLS}::test_a_refusal_says_what_is_wrong_and_tells_no_secret",
        never,
    ),
    Guard(
        "url-at-sending",
        "Sending refuses the same URLs as registration, however they got into the store",
        f"{_ON_SOCKETS}::test_the_url_is_judged_again_at_send",
        swap("self._validated(url)", "URL(url, encoded=True)"),
    ),
    Guard(
        "only-https",
        "Only https, unless `security.allow_http`",
        f"{_URLS}::test_the_code_says_what_kind_of_refusal_it_is",
        never,
    ),
    Guard(
        "allowed-networks",
        "`security.allow_networks` allows exactly the named networks; cloud metadata only if named as a single address",
        "tests/unit/egress/test_ip_policy.py::test_allowing_opens_exactly_what_it_names",
        swap("network.num_addresses == 1 or address not in _METADATA", "True"),
    ),
    Guard(
        "outside-only",
        "It allows them for endpoints of the configuration and of `admin` keys, unless `allow_networks_for: register`",
        "tests/flows/test_allowed_networks.py::test_a_key_without_admin_reaches_no_allowed_network",
        swap("if endpoint.outside_only", "if False"),
    ),
    Guard(
        "ipv4-in-ipv6",
        "The rules for an IPv4 address also apply to it inside an IPv6 address (mapped, NAT64, 6to4, Teredo)",
        "tests/unit/egress/test_ip_policy.py::test_an_ipv4_address_inside_ipv6_is_never_freer_than_by_itself",
        swap("blocked_reason(inner, rules)", "None"),
    ),
    Guard(
        "denied-networks",
        "`security.deny_networks` overrides every other setting",
        f"{_ON_SOCKETS}::test_denied_networks_win",
        never,
    ),
    Guard(
        "receiver-redirect",
        "The relay follows no redirect, to cloud metadata or anywhere else",
        f"{_ON_SOCKETS}::test_a_redirect_is_not_followed",
        swap("allow_redirects=False", "allow_redirects=True"),
    ),
    Guard(
        "certificate-name",
        "A certificate must contain the URL's host, and a kept connection is not reused for another host",
        f"{_ON_SOCKETS}::test_a_connection_is_never_used_for_another_host",
        also("self._ssl_context.check_hostname = False"),
    ),
    Guard(
        "header-injection",
        "No header of a caller can add another header or change the framing of the request",
        f"{_ON_THE_WIRE}::test_headers_that_break_out_are_not_sent",
        never,
    ),
    Guard(
        "proxied-name",
        "With an outbound proxy, the relay still refuses names that it resolves to a blocked address",
        f"{_ON_SOCKETS}::test_a_proxy_is_not_asked_for_what_the_relay_knows_is_inside",
        gone,
    ),
    Guard(
        "mail-address",
        "The same rules hold for mail servers, at each connection",
        "tests/adapters/egress/test_smtp_client.py::test_a_forbidden_address_is_not_dialled",
        never,
    ),
    Guard(
        "mail-starttls",
        "The relay sends a mail server neither login nor mail before the connection is encrypted",
        "tests/adapters/egress/test_smtp_client.py::test_without_starttls_no_password_is_sent",
        gone,
    ),
    Guard(
        "mail-encrypted",
        "An unencrypted connection to a mail server needs `security.allow_http`",
        "tests/adapters/egress/test_smtp_client.py::test_a_mail_url_that_can_not_work_is_refused",
        never,
    ),
)
