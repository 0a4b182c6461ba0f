package async

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/weirflow/weir/flow"
)

// TestInsideForm holds fast what docs/format/operators.md says of records inside.
func TestInsideForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrive[int, string](t, NewMap(after, Options{}))
		if err := d.try([]flow.Time{7, flow.MinTime}, 50, 20); err != nil {
			t.Fatal(err)
		}
		const golden = "[82a2696e32a474696d6507 82a2696e14a474696d65d38000000000000000]"
		if kept := d.epoch(); len(kept) != 1 || kept[0].Name != "asked" || fmt.Sprintf("%x", kept[0].Items) != golden {
			t.Errorf("kept is now\n%x\nand was\n%s", kept, golden)
		}
		d.settle()
		d.close()
	})
}
