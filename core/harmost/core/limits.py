"""Every bound of the mesh in one place, each with its reason. Units stand last in the names."""

__all__ = [
    "CANDIDATES_MAX",
    "CEL_CHARS_MAX",
    "CEL_COST_MAX",
    "CEL_DEPTH_MAX",
    "CEL_FACTS_BYTES_MAX",
    "CEL_IR_BYTES_MAX",
    "CEL_ITEMS_MAX",
    "CEL_LIBRARY_BYTES_MAX",
    "CEL_LOCALS_MAX",
    "CEL_NODES_MAX",
    "CEL_SCRATCH_BYTES_MAX",
    "CEL_VISITS_MAX",
    "DOCUMENTS_BYTES_MAX",
    "DOCUMENTS_MAX",
    "EMBED_ANSWER_BYTES_MAX",
    "ERROR_MESSAGE_CHARS_MAX",
    "GRPC_MESSAGE_BYTES_MAX",
    "INPUT_BYTES_MAX",
    "POLICY_ALTERNATIVES_MAX",
    "POLICY_CANDIDATES_MAX",
    "POLICY_LINT_PAIRS_MAX",
    "POLICY_LINT_RPC_STEPS_MAX",
    "POLICY_LINT_STEPS_MAX",
    "POLICY_ROWS_BYTES_MAX",
    "POLICY_SEARCH_STEPS_MAX",
    "POLICY_TENANTS_MAX",
    "POLICY_TESTS_MAX",
    "POLICY_TEST_RPC_RULES_MAX",
    "POLICY_VALUES_MAX",
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
# Vectors in base64, as large as still go into one message when they are plain: 2,048 of 3,800 numbers.
EMBED_ANSWER_BYTES_MAX = 40 * 1024 * 1024
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
# Tests of one run: each takes some 0.1 ms, more where rules are many.
POLICY_TESTS_MAX = 10_000
POLICY_TEST_RPC_RULES_MAX = 1_000_000  # tests times rules: a service has other work, some 10 s
# Values that one question of the linter tries, some 100 ms, and all of its questions together, a
# minute. Then it says that it does not know.
POLICY_SEARCH_STEPS_MAX = 5_000
POLICY_LINT_STEPS_MAX = 3_000_000
POLICY_LINT_RPC_STEPS_MAX = 300_000  # a service has other work: some ten seconds
POLICY_LINT_PAIRS_MAX = 20_000  # of rules that are held against each other, some 1 ms each
# CEL. Longer than any condition that a person reads; cel-cpp itself stops at 100,000.
CEL_CHARS_MAX = 8_192
# Nodes of one tree, document variables put in: more than `CEL_CHARS_MAX` characters can say alone.
CEL_NODES_MAX = 8_192
# Of a tree. cel-cpp parses 32 deep; variables add their own depth. Evaluation recurses in C.
CEL_DEPTH_MAX = 128
CEL_LOCALS_MAX = 8  # macros inside each other: each multiplies the cost of the ones around it
CEL_IR_BYTES_MAX = 1024 * 1024
# All conditions of steps: a fraction of what their documents may take.
CEL_LIBRARY_BYTES_MAX = 8 * 1024 * 1024
# Estimated node visits of one evaluation, refused above it when compiled: about a millisecond.
CEL_COST_MAX = 100_000
# Items that all macros of one evaluation may visit: what cel-cpp allows.
CEL_ITEMS_MAX = 10_000
# Nodes that they may visit in it: about ten milliseconds.
CEL_VISITS_MAX = 1_000_000
# Facts of one call or candidate, and constants of one program, in C: 32 bytes a value.
CEL_FACTS_BYTES_MAX = 16 * 1024 * 1024
# Strings and lists that one evaluation may make; none is made by conditions of the usual kinds.
CEL_SCRATCH_BYTES_MAX = 1024 * 1024
# Conjunctions that one condition is parted into; beyond them parts of it are run as they stand.
POLICY_ALTERNATIVES_MAX = 64
# Rows of bits that one index keeps of values seen: about 3,000 rows at 20,000 rules.
POLICY_ROWS_BYTES_MAX = 8 * 1024 * 1024
POLICY_VALUES_MAX = 4_096  # values of one fact whose answers are kept
POLICY_TENANTS_MAX = 4_096  # tenants for which it is kept which rules bind them
POLICY_CANDIDATES_MAX = 256  # lists of models for which it is kept where rules match
# Tool calls of one answer; vendors make a handful at once.
ANSWER_TOOL_CALLS_MAX = 128
STEPS_MAX = 16
CANDIDATES_MAX = 64
# "acme/retail/support" has three levels; each is a counter that every attempt touches.
TENANT_DEPTH_MAX = 8
# Amounts stay far enough below 2**63 that the sum of a few cannot overflow: 1 billion US dollars.
USD_NANOS_MAX = 1_000_000_000 * 1_000_000_000
