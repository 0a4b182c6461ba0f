package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"
	"pgregory.net/rapid"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSources(t *testing.T) {
	file := write(t, `# an agent
name: one
zone: a
slots: 3
listen:
  http: 127.0.0.1:80
join: [10.0.0.1:7471, file:/etc/seeds]
tags: {disk: ssd}
limits:
  artifact: 2GB
log:
`)
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	Register(fs)
	if err := fs.Parse([]string{"--slots", "5", "--server-enabled", "--lease=5s"}); err != nil {
		t.Fatal(err)
	}
	l, err := Load(Inputs{File: file, Environ: []string{"WEIR_AGENT_SLOTS=4", "WEIR_AGENT_ZONE=b", "WEIR_MEMORY=1GB", "WEIR_AGENT_TAGS=a=1, b=2"}, Flags: fs})
	if err != nil {
		t.Fatal(err)
	}
	if l.Name != "one" || l.Zone != "b" || l.Slots != 5 || !l.Server.Enabled || l.Limits.Artifact != 2<<30 || l.Lease != Duration(5*time.Second) ||
		l.Memory != 0 || len(l.Join) != 2 || l.Tags["b"] != "2" || l.Tags["disk"] != "" {
		t.Errorf("%+v", l.Config)
	}
	for key, want := range map[string]string{"name": file + ":2", "zone": "WEIR_AGENT_ZONE", "slots": "--slots", "listen.http": file + ":6",
		"data_dir": "default", "limits.artifact": file + ":10", "server.enabled": "--server-enabled"} {
		if got := l.Source(key).String(); got != want {
			t.Errorf("%s: from %s, want %s", key, got, want)
		}
	}
	// What is printed reads as the same.
	var b bytes.Buffer
	if err := l.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Load(Inputs{File: write(t, b.String())})
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if d := cmp.Diff(l.Config, again.Config, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	b.Reset()
	if err := l.WriteJSON(&b); err != nil || !strings.Contains(b.String(), `"key": "limits.artifact",
    "value": "2GiB",`) {
		t.Errorf("%v %s", err, b.String())
	}
}

func TestMistakes(t *testing.T) {
	cases := []struct{ content, want string }{
		{"slot: 3", `:1: there is no key "slot": did you mean "slots"?`},
		{"name: a\n\nlisten:\n  htp: x", `:4: there is no key "listen.htp": did you mean "listen.http"?`},
		{"key_file: x", `:1: there is no key "key_file": did you mean "gossip.key_file"?`},
		{"tls: {certificate: x}", `:1: there is no key "tls.certificate": did you mean "tls.cert"?`},
		{"frobnicate: 1", `:1: there is no key "frobnicate"`},
		{"slots: many", `:1: slots: "many" must be a whole number`},
		{"lease: 3", `:1: lease: "3" must be a time with its unit`},
		{"memory: 100", `:1: memory: "100" must be a size with its unit`},
		{"server: {enabled: yes}", `:1: server.enabled: "yes" must be true or false`},
		{"join: a", `:1: join must be a list`},
		{"join: [{a: b}]", `:1: join must be a list of words`},
		{"tags: [a]", `:1: tags must be names`},
		{"name: [a]", `:1: name must be one value`},
		{"name:", `:1: name must be one value`},
		{"listen: x", `:1: listen holds keys`},
		{"- a", `:1: the file holds keys`},
		{"name: a\nname: b", `:2: name stands in line 1 already`},
		{"a: &x b\nname: *x", "name must be one value"},
		{"name: [", "line 1"},
	}
	for _, c := range cases {
		_, err := Load(Inputs{File: write(t, c.content)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.content, err, c.want)
		}
	}
	_, err := Load(Inputs{Environ: []string{"WEIR_AGENT_SLOT=1", "WEIR_AGENT_LEASE=x"}})
	if err == nil || err.Error() != `environment: there is no variable WEIR_AGENT_SLOT: did you mean "WEIR_AGENT_SLOTS"?
WEIR_AGENT_LEASE: "x" must be a time with its unit, such as 150ms or 3s` {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	one := func(change func(*Config)) *Config {
		c := Default()
		c.Server = Server{Enabled: true, BootstrapExpect: 1}
		change(&c)
		return &c
	}
	safe := func(c *Config) {
		c.TLS = TLS{"ca", "c", "k"}
		c.TokenFile, c.Gossip.KeyFile, c.Advertise = "t", "g", "10.0.0.1"
		c.Listen = Listen{"0.0.0.0:1", ":2", "0.0.0.0:3", "0.0.0.0"}
	}
	cases := []struct {
		name string
		c    *Config
		want string
	}{
		{"default with one server", one(func(*Config) {}), ""},
		{"open and safe", one(safe), ""},
		{"open without tokens", one(func(c *Config) { safe(c); c.TokenFile = "" }), "listen.http: listening on 0.0.0.0:1 without tokens"},
		{"open without TLS", one(func(c *Config) { safe(c); c.TLS = TLS{} }), "listen.rpc: listening on 0.0.0.0:3 without TLS"},
		{"open gossip", one(func(c *Config) { safe(c); c.Gossip.KeyFile = "" }), "gossip.key_file: gossip on :2 without a key"},
		{"no advertise", one(func(c *Config) { safe(c); c.Advertise = "" }), "advertise: "},
		{"half a pair", one(func(c *Config) { c.TLS.CA = "x" }), "tls: certs: a CA"},
		{"two servers", one(func(c *Config) { c.Server.BootstrapExpect = 2 }), "server.bootstrap_expect: 2"},
		{"alone", one(func(c *Config) { c.Server = Server{} }), "join: "},
		{"slow heartbeat", one(func(c *Config) { c.Heartbeat = c.Lease }), "heartbeat: 3s"},
		{"name", one(func(c *Config) { c.Name = "../x" }), "name: "},
		{"level", one(func(c *Config) { c.Log.Level = "loud" }), "log.level: "},
		{"address", one(func(c *Config) { c.Listen.Gossip = "x" }), "listen.gossip: "},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.c.Check()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestKeysOfGossip(t *testing.T) {
	one, two := strings.Repeat("A", 43)+"=", strings.Repeat("B", 43)+"="
	for content, want := range map[string]string{one: "", one + "\n# the old one\n\n" + two + "\n": "", "": "no key", "AAAA": "line 1", one + "\nx": "line 2",
		one + "\n" + two + "\n" + one: "more than 2"} {
		ring, err := GossipKeys(write(t, content))
		if want == "" && (err != nil || len(ring[0]) != 32) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v", content, err)
		}
	}
	name := write(t, one)
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := GossipKeys(name); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"db": "secret\n", "dir/x": "", "large": strings.Repeat("x", maxSecret+1)} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if s, err := Secret(dir, "db"); err != nil || s != "secret" {
		t.Errorf("%q %v", s, err)
	}
	for _, name := range []string{"", "..", "../x", "dir/x", "dir", "large", "link", "nothing", ".db", "/etc/hostname"} {
		if s, err := Secret(dir, name); err == nil {
			t.Errorf("%q: %q", name, s)
		}
	}
	if _, err := Secret("", "db"); err == nil || !strings.Contains(err.Error(), "secrets_dir") {
		t.Error(err)
	}
}

func TestSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Size(rapid.Int64Range(0, 1<<52).Draw(t, "size"))
		if got, err := ParseSize(s.String()); err != nil || got != s {
			t.Fatalf("%d is %s is %d, %v", s, s, got, err)
		}
	})
	for _, bad := range []string{"", "1", "-1MB", "MB", "1XB", "NaNMB", "1e30TB"} {
		if n, err := ParseSize(bad); err == nil {
			t.Errorf("%q is %d", bad, n)
		}
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range keys {
		if k.about == "" || seen[k.flag()] || seen[k.env()] || strings.HasSuffix(k.name, ".") {
			t.Errorf("%s: not explained, or not unique", k.name)
		}
		seen[k.flag()], seen[k.env()] = true, true
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("name: a\nlisten: {http: x}\njoin: [a]\ntags: {a: b}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &Loaded{Config: Default(), sources: map[string]Source{}}
		if len(l.yaml("f", data)) == 0 {
			_ = l.Check()
		}
	})
}
