package bench

import "testing"

func TestKeyed(t *testing.T) {
	for _, c := range []Case{keyed} {
	r, err := c.Run(t.Context(), Options{Events: 50_000_000})
	t.Logf("%+v %v", r, err)
	}
}
