package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written with a unit: 64MB and 64MiB are the same, 2^26.
type Size int64

var units = []struct {
	name string
	size int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"KB", 1 << 10}, {"B", 1}}

// ParseSize reads one.
func ParseSize(s string) (Size, error) {
	text := strings.TrimSpace(s)
	if text == "0" {
		return 0, nil
	}
	for _, u := range units {
		if len(text) <= len(u.name) || !strings.EqualFold(text[len(text)-len(u.name):], u.name) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(text[:len(text)-len(u.name)]), 64)
		if err != nil || !(n >= 0) || n*float64(u.size) >= math.MaxInt64 {
			break
		}
		return Size(n * float64(u.size)), nil
	}
	return 0, fmt.Errorf("%q must be a size with its unit, such as 512MB or 2GB", s)
}

// String is what ParseSize reads.
func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for _, u := range units[:4] {
		if int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Duration is a time, written with a unit: 150ms, 3s.
type Duration time.Duration

// ParseDuration reads one.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(strings.TrimSpace(s))
	if err != nil {
		return 0, fmt.Errorf("%q must be a time with its unit, such as 150ms or 3s", s)
	}
	return Duration(d), nil
}

// String is what ParseDuration reads.
func (d Duration) String() string { return time.Duration(d).String() }
