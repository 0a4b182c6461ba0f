package gossip

import (
	"bytes"
	"context"
	"log" //nolint:depguard // the library takes no other
	"log/slog"
)

// newLogger passes on to slog what the library logs, by the level it writes in front.
func newLogger(to *slog.Logger) *log.Logger { return log.New(lines{to}, "", 0) }

type lines struct{ to *slog.Logger }

// Write is called for each line.
func (l lines) Write(p []byte) (int, error) {
	level, line := slog.LevelInfo, bytes.TrimSpace(p)
	for name, is := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo, "[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelError,
	} {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			level, line = is, rest
		}
	}
	line = bytes.TrimPrefix(line, []byte("memberlist: "))
	l.to.Log(context.Background(), level, "gossip: "+string(line))
	return len(p), nil
}
