// Package migrations holds the SQL for what is never rebuilt from the log: roles, the vault, checkpoints and
// what consumers keep. Statements only add, so that the previous program still runs after them.
package migrations

import "embed"

// FS holds the migrations, in goose's form.
//
//go:embed *.sql
var FS embed.FS
