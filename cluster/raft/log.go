package raft

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// newLogger passes on to slog what the libraries log.
func newLogger(to *slog.Logger) hclog.Logger {
	level := hclog.Info
	if to.Enabled(context.Background(), slog.LevelDebug) {
		level = hclog.Debug
	}
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&sink{to: to, least: level})
	return l
}

type sink struct {
	to    *slog.Logger
	least hclog.Level
}

// Accept is called for each line, whatever its level.
func (s *sink) Accept(_ string, level hclog.Level, message string, args ...any) {
	if level < s.least {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if form, ok := f[0].(string); ok {
				args[i] = fmt.Sprintf(form, f[1:]...)
			}
		}
	}
	to := slog.LevelDebug
	switch level {
	case hclog.Info:
		to = slog.LevelInfo
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	}
	s.to.Log(context.Background(), to, "raft: "+message, args...)
}
