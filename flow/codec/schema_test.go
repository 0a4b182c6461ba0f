package codec_test

import (
	"testing"
	"time"
)

func TestSchemaString(t *testing.T) {
	for want, got := range map[string]string{
		"{id int64, customer string, amount float64, quantity int32, paid bool, at int64}": must[order](t).Schema().String(),
		"{Value int64, Children []^2, Left *^2, ByName map[string]*^3}":                    must[node](t).Schema().String(),
		"[]{A [2]int64, B [4]byte, C bytes, T time, D int64}": must[[]struct {
			A [2]int
			B [4]byte
			C []byte
			T time.Time
			D time.Duration
		}](t).Schema().String(),
		"custom codec_test.own": must[own](t).Schema().String(),
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
