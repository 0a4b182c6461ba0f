package operator

import (
	"fmt"
	"testing"

	"github.com/weirflow/weir/checkpoint"
)

// TestBroadcastStateForm holds fast what docs/format/operators.md says of broadcast
// state.
func TestBroadcastStateForm(t *testing.T) {
	s := NewBroadcastState[string, rule](&Setup[int]{ctx: &Context{}, decl: &Declared{}}, "rules")
	s.set("a", rule{"a", 10})
	s.set("b", rule{"b", -1})
	kept := s.keep()
	const golden = `["\x83\xa4kind\xa6struct\xa4name\xd9Eoperator.broadcastItem[string,github.com/weirflow/weir/operator.rule]` +
		`\xa6fields\x92\x82\xa4name\xa3key\xa4type\x81\xa4kind\xa6string\x82\xa4name\xa5value\xa4type\x83\xa4kind\xa6struct\xa4name\xadoperator.rule` +
		`\xa6fields\x92\x82\xa4name\xa4Name\xa4type\x81\xa4kind\xa6string\x82\xa4name\xa5Limit\xa4type\x81\xa4kind\xa5int64" ` +
		`"\x92\xa1a\x92\xa1a\n" "\x92\xa1b\x92\xa1b\xff"]`
	if got := fmt.Sprintf("%q", kept.Items); got != golden || kept.Name != "rules" || kept.Mode != checkpoint.Broadcast {
		t.Errorf("kept is now\n%s\nand was\n%s", got, golden)
	}
}
