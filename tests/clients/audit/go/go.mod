// Verifies an audit log with the code of Go's own checksum database, and none of ours.
module harmost.dev/tests/audit

go 1.26.0

require golang.org/x/mod v0.43.0
