"""Every bound of the mesh in one place, each with its reason. Units stand last in the names."""

__all__ = [
    "CANDIDATES_MAX",
    "DOCUMENTS_BYTES_MAX",
    "DOCUMENTS_MAX",
    "ERROR_MESSAGE_CHARS_MAX",
    "GRPC_MESSAGE_BYTES_MAX",
    "INPUT_BYTES_MAX",
    "POLICY_VARIABLES_MAX",
    "PROVIDER_ERROR_BYTES_MAX",
    "RULES_MAX",
    "RULE_CITATIONS_MAX",
    "RULE_MESSAGE_CHARS_MAX",
    "RULE_NAME_CHARS_MAX",
    "SSE_LINE_BYTES_MAX",
    "STEPS_MAX",
    "TENANT_DEPTH_MAX",
    "USD_NANOS_MAX",
]

# Messages: a snapshot of a large deployment is the largest; requests are bounded by their fields.
GRPC_MESSAGE_BYTES_MAX = 32 * 1024 * 1024
# Prompt text of one call, all messages: larger than any context window that is sold today.
INPUT_BYTES_MAX = 8 * 1024 * 1024
# One line of a provider's event stream: a vendor's largest single event is a whole tool call.
SSE_LINE_BYTES_MAX = 1024 * 1024
# What is read of a provider's error body; the rest says nothing more.
PROVIDER_ERROR_BYTES_MAX = 64 * 1024
ERROR_MESSAGE_CHARS_MAX = 500
# Documents of one deployment: YAML is parsed in the control plane only, but all of it at once.
DOCUMENTS_MAX = 20_000
DOCUMENTS_BYTES_MAX = 24 * 1024 * 1024
RULES_MAX = 20_000
# What a rule says of itself goes into every record and denial that names it: a denial travels in
# headers, of which clients take 8 KiB.
RULE_MESSAGE_CHARS_MAX = 500
RULE_NAME_CHARS_MAX = 100  # its own, and that of each source it cites
RULE_CITATIONS_MAX = 8
# Variables of one policy document: more than a person keeps in mind; each is compiled on its own.
POLICY_VARIABLES_MAX = 100
STEPS_MAX = 16
CANDIDATES_MAX = 64
# "acme/retail/support" has three levels; each is a counter that every attempt touches.
TENANT_DEPTH_MAX = 8
# Amounts stay far enough below 2**63 that the sum of a few cannot overflow: 1 billion US dollars.
USD_NANOS_MAX = 1_000_000_000 * 1_000_000_000
