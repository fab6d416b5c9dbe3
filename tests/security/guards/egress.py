"""Where the relay connects to."""

from tests.security.guard import Guard, also, gone, never, swap

_ON_SOCKETS = "tests/adapters/egress/test_guard.py"
_URLS = "tests/unit/egress/test_url_policy.py"
_ON_THE_WIRE = "tests/adapters/egress/test_http_client.py"

EGRESS = (
    Guard(
        "dialled-address",
        "Loopback, private, link-local and cloud addresses are not dialled, whatever a name resolves to",
        f"{_ON_SOCKETS}::test_a_name_of_this_machine_is_not_dialled",
        swap("refusal(address[0], self._rules)", "None"),
    ),
    Guard(
        "each-dial",
        "A name that resolves to something else later is judged at each dial (DNS rebinding)",
        f"{_ON_SOCKETS}::test_a_name_that_changes_its_address_is_judged_at_each_dial",
        gone,
    ),
    Guard(
        "url-address",
        "A URL that names such an address in any spelling, or hides its host, is refused at registration",
        f"{_URLS}::test_a_hostile_url_is_refused",
        never,
    ),
    Guard(
        "url-credentials",
        "User names and passwords in a URL are refused, and not repeated",
        f"{_URLS}::test_a_refusal_says_what_is_wrong_and_tells_no_secret",
        never,
    ),
    Guard(
        "url-at-sending",
        "What is refused at registration is refused at sending too, whoever put it into the store",
        f"{_ON_SOCKETS}::test_the_url_is_judged_again_at_send",
        swap("self._judged(url)", "URL(url, encoded=True)"),
    ),
    Guard(
        "only-https",
        "Only https, unless `security.allow_http`",
        f"{_URLS}::test_the_code_says_what_kind_of_refusal_it_is",
        never,
    ),
    Guard(
        "allowed-networks",
        "`security.allow_networks` opens exactly what it names; cloud metadata only where named as one address",
        "tests/unit/egress/test_ip_policy.py::test_allowing_opens_exactly_what_it_names",
        swap("network.num_addresses == 1 or address not in _METADATA", "True"),
    ),
    Guard(
        "ipv4-in-ipv6",
        "IPv4 addresses inside IPv6 ones (mapped, NAT64, 6to4, Teredo) are no freer than by themselves",
        "tests/unit/egress/test_ip_policy.py::test_an_ipv4_address_inside_ipv6_is_never_freer_than_by_itself",
        swap("refusal(inner, rules)", "None"),
    ),
    Guard(
        "denied-networks",
        "`security.deny_networks` wins over everything",
        f"{_ON_SOCKETS}::test_denied_networks_win",
        never,
    ),
    Guard(
        "receiver-redirect",
        "Redirects are not followed, to the cloud's metadata or anywhere else",
        f"{_ON_SOCKETS}::test_a_redirect_is_not_followed",
        swap(", allow_redirects=False", ""),
    ),
    Guard(
        "certificate-name",
        "A certificate must hold the URL's own name, and a kept connection serves no other host",
        f"{_ON_SOCKETS}::test_a_connection_is_never_used_for_another_host",
        also("self._ssl_context.check_hostname = False"),
    ),
    Guard(
        "header-injection",
        "No header of a caller breaks out of its line, or frames the request",
        f"{_ON_THE_WIRE}::test_headers_that_break_out_are_not_sent",
        never,
    ),
)
